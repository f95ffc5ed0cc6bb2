//! CPU of a warm GET beside nginx's.

use anyhow::Result;

use crate::app;
use crate::client::get;
use crate::contest::{self, Contestant};
use crate::interceptor::Interceptor;
use crate::manifests::{Manifests, host, route, service, slice};
use crate::nginx::{self, Nginx};
use crate::report::Report;

const METHOD: &str = "\
GET with a 128-byte answer on 64 keep-alive connections, closed loop. Interceptor (one worker) and nginx (one
worker, keep-alive to the app, no access log) on core 0, both alive all the time; load generator and app on core 1.
5 rounds, in each of them 5 s for each server in turn. CPU is user and system time of the server's processes by
/proc, over the answered requests. Figure: median over the rounds of the ratio within a round. Rounds in which a
server used less than 0.9 of its core, or nginx was more than 25 % from its median, are taken again.";

pub(super) async fn run() -> Result<Report> {
    let manifests = Manifests::new()?;
    let app = app::spawn().await?;
    let host = host("warm");
    manifests.write("warm", &[route("warm", &host), service("warm"), slice("warm", app)])?;
    let nginx = Nginx::ready(app, manifests.scratch()).await?;
    let mut interceptor = Interceptor::ready(&manifests, &[]).await?;
    interceptor.until_served(&host).await?;
    let request = get(&host, "/", "");
    let contestants = [
        Contestant {
            name: "nginx",
            address: nginx.address,
            process: nginx.program.id(),
            request: request.clone(),
        },
        Contestant {
            name: "interceptor",
            address: interceptor.proxy,
            process: interceptor.program.id(),
            request,
        },
    ];
    let rounds = contest::run(&contestants).await?;
    let mut report = Report::new("get64", format!("{METHOD} nginx: {}.", nginx::version()?));
    let ratio = rounds.ratio("interceptor", "nginx");
    report.goal(
        "interceptor over nginx",
        ratio.median,
        "x nginx's CPU per request",
        1.35,
    );
    report.figure("least ratio of a round", ratio.min, "x");
    report.figure("greatest ratio of a round", ratio.max, "x");
    report.figure("rounds taken again", rounds.rejected as f64, "");
    report.tables.push(rounds.table());
    Ok(report)
}
