//! The cost of spans.

use std::time::Duration;

use anyhow::Result;

use crate::app;
use crate::build::{Build, Builds};
use crate::client::get;
use crate::collector::Collector;
use crate::contest::{self, Contestant, Rounds};
use crate::interceptor::Interceptor;
use crate::manifests::{Manifests, host, route, service, slice};
use crate::report::Report;

/// Spans of a warm request: the server's and the client's.
const SPANS_EACH: f64 = 2.0;

/// How often the interceptor sends a batch that is not full.
const BATCH_DELAY: &str = "500";

/// When no span arrives for this long, all have arrived.
const QUIET: Duration = Duration::from_secs(2);

/// A parent whose spans are not sampled.
const UNSAMPLED: &str = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00\r\n";

const OFF: &str = "off";
const SAMPLED: &str = "100 % sampled";
const OFF_PARENT: &str = "off, with traceparent";
const UNSAMPLED_PARENT: &str = "on, unsampled parent";
/// What the names of an earlier build's servers end in.
const BEFORE: &str = " (before)";

const METHOD: &str = "\
As get64, with two interceptors on core 0: one without tracing, one that samples by parent, else all
(parentbased_always_on) and sends OTLP http/protobuf (queue 65,536, batch 2,048) to a collector that counts spans
and drops them, on core 1 beside load generator and app. Each of the four servers is measured 5 s in each of 5
rounds.
Sampled: requests without a parent over the same with tracing off. Unsampled: requests with an unsampled
`traceparent` over the same with tracing off. The export's own CPU is in the figure. Medians of the ratios of each
round. With BEFORE, two interceptors of that build are measured in the same rounds.";

pub(super) async fn run(builds: &Builds) -> Result<Report> {
    let (manifests, app) = (Manifests::new()?, app::spawn().await?);
    let host = host("traced");
    manifests.write(
        "traced",
        &[route("traced", &host), service("traced"), slice("traced", app)],
    )?;
    let collector = Collector::spawn().await?;
    let endpoint = format!("http://{}", collector.address);
    let mut pairs = vec![Pair::start(&builds.current, "", &manifests, &endpoint).await?];
    if let Some(before) = &builds.before {
        pairs.push(Pair::start(before, BEFORE, &manifests, &endpoint).await?);
    }
    for pair in &mut pairs {
        pair.off.until_served(&host).await?;
        pair.on.until_served(&host).await?;
    }
    let contestants: Vec<Contestant> = pairs.iter().flat_map(|pair| pair.contestants(&host)).collect();
    let rounds = contest::run(&contestants).await?;
    let mut report = report(&rounds, "");
    let sampled: usize = pairs
        .iter()
        .map(|pair| rounds.requests(&format!("{SAMPLED}{}", pair.suffix)))
        .sum();
    let arrived = collector.settled(QUIET).await as f64;
    if builds.before.is_some() {
        report.compare_with(&self::report(&rounds, BEFORE));
        for name in [OFF, SAMPLED, OFF_PARENT, UNSAMPLED_PARENT] {
            let ratio = rounds.ratio(name, &format!("{name}{BEFORE}"));
            report.ratio(&format!("{name}: CPU per request over the earlier build's"), ratio);
        }
    }
    report.figure(
        "spans that arrived",
        100.0 * arrived / (sampled as f64 * SPANS_EACH),
        "% of 2 for each sampled request",
    );
    report.figure("rounds taken again", rounds.rejected as f64, "");
    report.tables.push(rounds.table());
    Ok(report)
}

/// The two interceptors of one build.
struct Pair {
    suffix: &'static str,
    off: Interceptor,
    on: Interceptor,
}

impl Pair {
    async fn start(build: &Build, suffix: &'static str, manifests: &Manifests, endpoint: &str) -> Result<Self> {
        Ok(Self {
            suffix,
            off: Interceptor::ready(build, manifests, &[]).await?,
            on: Interceptor::ready(build, manifests, &environment(endpoint)).await?,
        })
    }

    fn contestants(&self, host: &str) -> [Contestant; 4] {
        let server = |name: &str, interceptor: &Interceptor, headers| Contestant {
            name: format!("{name}{}", self.suffix),
            address: interceptor.proxy,
            process: interceptor.program.id(),
            request: get(host, "/", headers),
        };
        [
            server(OFF, &self.off, ""),
            server(SAMPLED, &self.on, ""),
            server(OFF_PARENT, &self.off, UNSAMPLED),
            server(UNSAMPLED_PARENT, &self.on, UNSAMPLED),
        ]
    }
}

fn environment(endpoint: &str) -> [(&str, &str); 7] {
    [
        ("OTEL_EXPORTER_OTLP_TRACES_ENABLED", "true"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
        ("OTEL_TRACES_SAMPLER", "parentbased_always_on"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "65536"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2048"),
        ("OTEL_BSP_SCHEDULE_DELAY", BATCH_DELAY),
    ]
}

/// The figures of the build whose servers have this suffix.
fn report(rounds: &Rounds, suffix: &str) -> Report {
    let ratio = |of: &str, over: &str| rounds.ratio(&format!("{of}{suffix}"), &format!("{over}{suffix}"));
    let (sampled, unsampled) = (ratio(SAMPLED, OFF), ratio(UNSAMPLED_PARENT, OFF_PARENT));
    let mut report = Report::new("tracing", METHOD);
    report.goal("100 % sampled over off", sampled.median, "x the CPU per request", 1.40);
    report.goal("with unsampled parents", unsampled.median, "x", 1.08);
    report.figure("sampled: least ratio of a round", sampled.min, "x");
    report.figure("sampled: greatest ratio of a round", sampled.max, "x");
    report.figure("unsampled: least ratio of a round", unsampled.min, "x");
    report.figure("unsampled: greatest ratio of a round", unsampled.max, "x");
    report
}
