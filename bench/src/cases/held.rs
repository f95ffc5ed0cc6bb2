//! Memory of held requests, and their release.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::task::JoinSet;

use crate::build::Build;
use crate::client::{Connection, get};
use crate::interceptor::Interceptor;
use crate::manifests::{Manifests, host, key, route, service, slice};
use crate::pending::Pending;
use crate::report::Report;
use crate::statistics::{percentile, sorted_milliseconds};
use crate::{app, cores, program};

const REQUESTS: usize = 10_000;

/// Files that this process needs beside its client connections.
const OTHER_FILES: usize = 500;

/// How long it may take until all requests are held, and again until all are answered.
const DEADLINE: Duration = Duration::from_secs(60);

/// How long after the release, and after the clients have left, the memory is read again.
const AFTER: Duration = Duration::from_secs(5);

const METHOD: &str = "\
HTTP/1.1 GETs for a route without endpoint, each on a connection of its own, until the interceptor (one worker, core
0) reports all of them as waiting; then the EndpointSlice with the one app (a process of its own, core 1) is renamed
into the directory, and every client must read a 200. Memory is the growth of the interceptor's PSS (user memory
only, KB of 1024 bytes) over that before the first request, divided by the requests. Times run from just before the
rename.";

pub(super) async fn run(build: &Build) -> Result<Report> {
    let count = REQUESTS.min(cores::descriptor_limit().saturating_sub(OTHER_FILES));
    let manifests = Manifests::new()?;
    let (_program, address) = app::start(manifests.scratch()).await?;
    manifests.write("held", &[route("held", &host("held")), service("held")])?;
    let interceptor = Interceptor::ready(build, &manifests, &[]).await?;
    let process = interceptor.program.id();
    let mut pending = Pending::watch(&interceptor).await?;
    let before = program::proportional_memory(process)?;
    let clients = hold(&interceptor, count).await?;
    let key = key("held");
    let all_waiting = pending.until_waiting(&key, count as u64);
    tokio::time::timeout(DEADLINE, all_waiting)
        .await
        .context("not all requests are waiting")??;
    let holding = program::proportional_memory(process)?;
    let ready = manifests.write("held-slice", &[slice("held", address)])?;
    let released = release(clients, ready).await?;
    tokio::time::sleep(AFTER).await;
    let open = program::proportional_memory(process)?;
    let answered = released.times.len();
    let failures = released.failures.clone();
    ensure!(
        answered == count,
        "only {answered} of {count} were answered with 200: {failures:?}\n{}",
        interceptor.program.last_output()
    );
    let times = sorted_milliseconds(&released.times);
    drop(released);
    tokio::time::sleep(AFTER).await;
    let left = program::proportional_memory(process)?;
    Ok(report(
        &times,
        &Memory {
            before,
            holding,
            open,
            left,
        },
    ))
}

/// PSS in KB.
struct Memory {
    before: u64,
    holding: u64,
    open: u64,
    left: u64,
}

struct Released {
    times: Vec<Duration>,
    failures: BTreeMap<String, usize>,
    /// Kept open, because the memory of connected clients belongs to the figure.
    _clients: Vec<Connection>,
}

async fn hold(interceptor: &Interceptor, count: usize) -> Result<Vec<Connection>> {
    let request = get(&host("held"), "/", "");
    let mut clients = Vec::with_capacity(count);
    for _ in 0..count {
        let mut client = Connection::open(interceptor.proxy).await?;
        client.send(&request).await?;
        clients.push(client);
    }
    Ok(clients)
}

async fn release(clients: Vec<Connection>, ready: Instant) -> Result<Released> {
    let mut answers = JoinSet::new();
    for mut client in clients {
        answers.spawn_local(async move {
            let status = tokio::time::timeout(DEADLINE, client.status()).await;
            (status, ready.elapsed(), client)
        });
    }
    let mut released = Released {
        times: vec![],
        failures: BTreeMap::new(),
        _clients: vec![],
    };
    while let Some(answer) = answers.join_next().await {
        let (status, time, client) = answer?;
        released._clients.push(client);
        let failure = match status {
            Ok(Ok(200)) => {
                released.times.push(time);
                continue;
            }
            Ok(Ok(status)) => status.to_string(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer in {DEADLINE:?}"),
        };
        *released.failures.entry(failure).or_default() += 1;
    }
    Ok(released)
}

fn report(times: &[f64], memory: &Memory) -> Report {
    let count = times.len() as f64;
    let each = |pss: u64| (pss as f64 - memory.before as f64) / count;
    let mut report = Report::new("held", METHOD);
    report.goal("each held request", each(memory.holding), "KB each", 24.0);
    report.figure(
        "5 s after the release, clients still connected",
        each(memory.open),
        "KB each",
    );
    report.figure("5 s after the clients have left", each(memory.left), "KB each");
    report.figure("held", count, "requests");
    report.figure("answered with 200", count, "requests");
    report.figure("PSS before", memory.before as f64 / 1024.0, "MB");
    report.figure("PSS holding", memory.holding as f64 / 1024.0, "MB");
    report.figure("first answer", percentile(times, 0.0), "ms");
    report.figure("median answer", percentile(times, 0.5), "ms");
    report.figure("last answer", percentile(times, 1.0), "ms");
    report
}
