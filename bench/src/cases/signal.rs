//! Time from a request at the interceptor to `true` on KEDA's stream.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::build::Build;
use crate::client::{Connection, get};
use crate::interceptor::Interceptor;
use crate::manifests::{Manifests, host, route, service};
use crate::report::Report;
use crate::scaler::{self, Scaler};
use crate::statistics::{percentile, sorted_milliseconds};

const WAKES: usize = 200;

const DEADLINE: Duration = Duration::from_secs(10);

const METHOD: &str = "\
200 InterceptorRoutes without endpoints, each with KEDA's StreamIsActive open at the scaler, which is subscribed to
the interceptor; all three are processes of their own (interceptor and scaler on core 0, KEDA and client on core 1).
One GET for each route on a new connection, 20 to 70 ms apart, so that every wake finds the processes idle. Time:
from when the client has written the request (so the way to the interceptor is in it) until KEDA has read `true`
from its stream.";

pub(super) async fn run(build: &Build) -> Result<Report> {
    let manifests = Manifests::new()?;
    let names: Vec<String> = (0..WAKES).map(|index| format!("idle-{index}")).collect();
    for name in &names {
        manifests.write(name, &[route(name, &host(name)), service(name)])?;
    }
    let interceptor = Interceptor::ready(build, &manifests, &[]).await?;
    let scaler = Scaler::ready(build, &manifests, &interceptor, &names[WAKES - 1]).await?;
    let mut streams = Vec::new();
    for name in &names {
        streams.push(scaler.stream(name).await?);
    }
    let mut times = Vec::new();
    for (index, (name, stream)) in names.iter().zip(&mut streams).enumerate() {
        tokio::time::sleep(Duration::from_millis(20 + (index as u64 * 31) % 51)).await;
        let mut client = Connection::open(interceptor.proxy).await?;
        client.send(&get(&host(name), "/", "")).await?;
        let sent = Instant::now();
        tokio::time::timeout(DEADLINE, scaler::active(stream))
            .await
            .with_context(|| format!("no `true` for {name}"))??;
        times.push(sent.elapsed());
    }
    Ok(report(&times))
}

fn report(times: &[Duration]) -> Report {
    let times = sorted_milliseconds(times);
    let mut report = Report::new("signal", METHOD);
    report.goal("p99", percentile(&times, 0.99), "ms", 10.0);
    report.goal("median", percentile(&times, 0.5), "ms", 2.0);
    report.figure("least", percentile(&times, 0.0), "ms");
    report.figure("p90", percentile(&times, 0.9), "ms");
    report.figure("greatest", percentile(&times, 1.0), "ms");
    report.figure("wakes", times.len() as f64, "");
    report
}
