//! Time from a ready endpoint to the first byte at the app.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::net::{TcpListener, TcpSocket};

use crate::app;
use crate::build::Build;
use crate::client::{Connection, get};
use crate::interceptor::Interceptor;
use crate::manifests::{Manifests, host, key, route, service, slice};
use crate::pending::Pending;
use crate::report::Report;
use crate::statistics::{percentile, sorted_milliseconds};

const WAKES: usize = 200;

/// How long the answer to a held request may take.
const DEADLINE: Duration = Duration::from_secs(10);

const METHOD: &str = "\
400 InterceptorRoutes without endpoints; interceptor on core 0, client and apps on core 1. For each route one GET on
a new connection; when the interceptor reports it as waiting, its EndpointSlice is renamed into the directory.
Prompt (200 wakes): the app listens before; time from just before the rename until the app can read.
Late (200 wakes): the app listens 50 to 200 ms after the rename and refuses connections until then; time from just
before listen() until the app can read. Each app has a port of its own, so every first byte needs a new connection.";

pub(super) async fn run(build: &Build) -> Result<Report> {
    let manifests = Manifests::new()?;
    for index in 0..2 * WAKES {
        let name = name(index);
        manifests.write(&name, &[route(&name, &host(&name)), service(&name)])?;
    }
    let interceptor = Interceptor::ready(build, &manifests, &[]).await?;
    let mut cold = Cold {
        pending: Pending::watch(&interceptor).await?,
        interceptor,
        manifests,
    };
    let mut prompt = Vec::new();
    for index in 0..WAKES {
        prompt.push(cold.within_deadline(index, None).await?);
    }
    let mut late = Vec::new();
    for index in 0..WAKES {
        let delay = Duration::from_millis(50 + (index as u64 * 37) % 151);
        late.push(cold.within_deadline(WAKES + index, Some(delay)).await?);
    }
    Ok(report(&prompt, &late))
}

fn name(index: usize) -> String {
    format!("cold-{index}")
}

struct Cold {
    manifests: Manifests,
    interceptor: Interceptor,
    pending: Pending,
}

impl Cold {
    async fn within_deadline(&mut self, index: usize, late: Option<Duration>) -> Result<Duration> {
        let wake = tokio::time::timeout(DEADLINE, self.wake(index, late)).await;
        wake.with_context(|| format!("{} was not answered in {DEADLINE:?}", name(index)))?
    }

    async fn wake(&mut self, index: usize, late: Option<Duration>) -> Result<Duration> {
        let name = name(index);
        let mut client = Connection::open(self.interceptor.proxy).await?;
        client.send(&get(&host(&name), "/", "")).await?;
        self.pending.until_waiting(&key(&name), 1).await?;
        let (listener, ready) = self.make_ready(&name, late).await?;
        let arrived = app::first_byte(&listener).await?;
        ensure!(client.status().await? == 200, "{name} was not answered with 200");
        Ok(arrived - ready)
    }

    /// The app's listener, and the moment from which it could be reached.
    async fn make_ready(&self, name: &str, late: Option<Duration>) -> Result<(TcpListener, Instant)> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let slice = [slice(name, socket.local_addr()?)];
        let file = format!("{name}-slice");
        let Some(delay) = late else {
            let listener = socket.listen(16)?;
            return Ok((listener, self.manifests.write(&file, &slice)?));
        };
        self.manifests.write(&file, &slice)?;
        tokio::time::sleep(delay).await;
        let before = Instant::now();
        Ok((socket.listen(16)?, before))
    }
}

fn report(prompt: &[Duration], late: &[Duration]) -> Report {
    let (prompt, late) = (sorted_milliseconds(prompt), sorted_milliseconds(late));
    let mut report = Report::new("ready", METHOD);
    report.goal("p99", percentile(&prompt, 0.99), "ms", 3.0);
    report.goal("late socket", percentile(&late, 0.99), "ms", 10.0);
    for (name, times) in [("prompt", prompt), ("late socket", late)] {
        report.figure(format!("{name}: median"), percentile(&times, 0.5), "ms");
        report.figure(format!("{name}: greatest"), percentile(&times, 1.0), "ms");
        report.figure(format!("{name}: wakes"), times.len() as f64, "");
    }
    report
}
