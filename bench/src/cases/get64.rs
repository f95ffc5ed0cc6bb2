//! CPU time of a warm GET, compared with nginx.

use anyhow::Result;

use crate::app;
use crate::build::Builds;
use crate::client::get;
use crate::contest::{self, Contestant, Rounds};
use crate::interceptor::Interceptor;
use crate::manifests::{Manifests, host, route, service, slice};
use crate::nginx::{self, Nginx};
use crate::program::Program;
use crate::report::Report;

const METHOD: &str = "\
GET with a 128-byte answer on 64 keep-alive connections, closed loop. Interceptor (one worker) and nginx (one
worker, keep-alive to the app, no access log) on core 0, both alive all the time; load generator and app on core 1.
5 rounds, in each of them 5 s for each server in turn. CPU is user and system time of the server's processes by
/proc, over the answered requests. Figure: median over the rounds of the ratio within a round. Rounds in which a
server used less than 0.9 of its core, or nginx was more than 25 % from its median, are taken again. With BEFORE,
the interceptor of that build is a third server in the same rounds.";

const NGINX: &str = "nginx";
const CURRENT: &str = "interceptor";
const BEFORE: &str = "interceptor before";

pub(super) async fn run(builds: &Builds) -> Result<Report> {
    let manifests = Manifests::new()?;
    let app = app::spawn().await?;
    let host = host("warm");
    manifests.write("warm", &[route("warm", &host), service("warm"), slice("warm", app)])?;
    let nginx = Nginx::ready(app, manifests.scratch()).await?;
    let server = |name: &str, address, program: &Program| Contestant {
        name: name.to_owned(),
        address,
        process: program.id(),
        request: get(&host, "/", ""),
    };
    let mut contestants = vec![server(NGINX, nginx.address, &nginx.program)];
    // Each of them runs until the contest is over.
    let mut interceptors = Vec::new();
    for (name, build) in [(CURRENT, Some(&builds.current)), (BEFORE, builds.before.as_ref())] {
        let Some(build) = build else { continue };
        let mut interceptor = Interceptor::ready(build, &manifests, &[]).await?;
        interceptor.until_served(&host).await?;
        contestants.push(server(name, interceptor.proxy, &interceptor.program));
        interceptors.push(interceptor);
    }
    let rounds = contest::run(&contestants).await?;
    let mut report = report(&rounds, CURRENT, &nginx::version()?);
    if builds.before.is_some() {
        report.compare_with(&self::report(&rounds, BEFORE, ""));
        report.ratio(
            "CPU per request over the earlier build's",
            rounds.ratio(CURRENT, BEFORE),
        );
    }
    report.figure("rounds taken again", rounds.rejected as f64, "");
    report.tables.push(rounds.table());
    Ok(report)
}

fn report(rounds: &Rounds, interceptor: &str, nginx: &str) -> Report {
    let mut report = Report::new("get64", format!("{METHOD} nginx: {nginx}."));
    let ratio = rounds.ratio(interceptor, NGINX);
    report.goal(
        "interceptor over nginx",
        ratio.median,
        "x nginx's CPU per request",
        1.35,
    );
    report.figure("least ratio of a round", ratio.min, "x");
    report.figure("greatest ratio of a round", ratio.max, "x");
    report
}
