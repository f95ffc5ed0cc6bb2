//! The cost of many routes: per request, at the start, at a change, and in memory.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::build::Build;
use crate::client::{self, Connection, get};
use crate::contest::{self, Contestant, Rounds};
use crate::interceptor::Interceptor;
use crate::manifests::{Manifests, host, route, service, slice};
use crate::report::Report;
use crate::statistics::{percentile, sorted_milliseconds};
use crate::{app, program};

const FEW: usize = 10;
const MANY: usize = 10_000;
const CHANGES: usize = 20;
/// How many hosts are asked, spread over all, when the last one answers.
const SAMPLED: usize = 200;

/// How long it may take until a change is served.
const DEADLINE: Duration = Duration::from_secs(10);

const METHOD: &str = "\
Two interceptors (one worker each, core 0) with 10 and with 10,000 InterceptorRoutes in one namespace, each with its
own Service and EndpointSlice (one file of three objects for each route); load generator and app on core 1.
Cost: the last route's host, as in get64: 64 connections, 5 rounds of 5 s each in turn, median of the ratios of each
round.
Start: from exec until a GET for the last route's host is answered with 200, asked every 1 to 2 ms; 200 hosts over
the whole list must then answer too. Change: a route's file is renamed into place with another host; until a GET for
that host is answered with 200, asked every 1 to 2 ms on one connection; 20 changes.
Memory: RSS in MB of 1024 KB with 10,000 routes, after the start.";

pub(super) async fn run(build: &Build) -> Result<Report> {
    let app = app::spawn().await?;
    let (few, many) = (manifests(FEW, app)?, manifests(MANY, app)?);
    let mut small = Interceptor::ready(build, &few, &[]).await?;
    small.until_served(&host(&name(FEW - 1))).await?;
    let (large, start) = start(build, &many).await?;
    let resident = program::resident_memory(large.program.id())?;
    let rounds = contest::run(&[
        contestant("10 routes", &small, FEW),
        contestant("10,000 routes", &large, MANY),
    ])
    .await?;
    let mut changes = Vec::new();
    for index in 0..CHANGES {
        changes.push(change(&many, &large, app, index).await?);
    }
    let after = program::resident_memory(large.program.id())?;
    let mut report = report(&rounds, &start, &changes, resident);
    report.figure("RSS after load and changes", after as f64 / 1024.0, "MB");
    Ok(report)
}

fn name(index: usize) -> String {
    format!("route-{index:05}")
}

fn manifests(count: usize, app: SocketAddr) -> Result<Manifests> {
    let manifests = Manifests::new()?;
    for index in 0..count {
        let name = name(index);
        manifests.write(&name, &[route(&name, &host(&name)), service(&name), slice(&name, app)])?;
    }
    Ok(manifests)
}

/// Seconds from exec.
struct Start {
    ready: f64,
    live: f64,
}

async fn start(build: &Build, manifests: &Manifests) -> Result<(Interceptor, Start)> {
    let mut interceptor = Interceptor::start(build, manifests, &[])?;
    let started = interceptor.program.started;
    interceptor.until_ready().await?;
    let ready = started.elapsed().as_secs_f64();
    interceptor.until_served(&host(&name(MANY - 1))).await?;
    let live = started.elapsed().as_secs_f64();
    for index in (0..MANY).step_by(MANY / SAMPLED) {
        let status = client::status(interceptor.proxy, &host(&name(index)), "/").await?;
        ensure!(
            status == 200,
            "{} answers {status} when the last route is live",
            name(index)
        );
    }
    Ok((interceptor, Start { ready, live }))
}

fn contestant(name: &str, interceptor: &Interceptor, routes: usize) -> Contestant {
    let request = get(&host(&self::name(routes - 1)), "/", "");
    Contestant {
        name: name.to_owned(),
        address: interceptor.proxy,
        process: interceptor.program.id(),
        request,
    }
}

/// Gives one route, somewhere in the list, another host and returns the time until that is served.
async fn change(manifests: &Manifests, interceptor: &Interceptor, app: SocketAddr, index: usize) -> Result<Duration> {
    let name = name(index * (MANY / CHANGES) + 7);
    let host = host(&format!("changed-{index}"));
    let request = get(&host, "/", "");
    let mut client = Connection::open(interceptor.proxy).await?;
    ensure!(
        client.exchange(&request).await? == 404,
        "{host} is known before the change"
    );
    let renamed = manifests.write(&name, &[route(&name, &host), service(&name), slice(&name, app)])?;
    tokio::time::timeout(DEADLINE, until_answered(&mut client, &request))
        .await
        .with_context(|| format!("{host} is not served in {DEADLINE:?}"))??;
    Ok(Instant::now() - renamed)
}

async fn until_answered(client: &mut Connection, request: &[u8]) -> Result<()> {
    while client.exchange(request).await? != 200 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

fn report(rounds: &Rounds, start: &Start, changes: &[Duration], resident: u64) -> Report {
    let changes = sorted_milliseconds(changes);
    let ratio = rounds.ratio("10,000 routes", "10 routes");
    let mut report = Report::new("routes", METHOD);
    report.goal(
        "cost of a request, 10,000 over 10 routes",
        ratio.median,
        "x the CPU per request",
        1.05,
    );
    report.goal("start to last route live", start.live, "s", 2.0);
    report.goal("change live", percentile(&changes, 1.0), "ms", 20.0);
    report.goal("RSS", resident as f64 / 1024.0, "MB", 60.0);
    report.figure("least ratio of a round", ratio.min, "x");
    report.figure("greatest ratio of a round", ratio.max, "x");
    report.figure("start to /readyz", start.ready, "s");
    report.figure("change live, median", percentile(&changes, 0.5), "ms");
    report.figure("rounds taken again", rounds.rejected as f64, "");
    report.tables.push(rounds.table());
    report
}
