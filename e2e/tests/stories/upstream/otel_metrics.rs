//! The interceptor pushes its metrics to an OpenTelemetry Collector.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use keda_http_e2e::story::cluster::INTERCEPTOR;
use keda_http_e2e::story::collected::{Point, points};
use keda_http_e2e::story::space::PATIENCE;
use keda_http_e2e::story::{Findings, Space, Story};
use keda_http_e2e::wait;
use kube::api::{Api, LogParams};

use super::CHAPTER;

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "otel_metrics",
    says: "The interceptor pushes metrics to a Collector: waiting requests, and count and duration of all",
    alone: true,
    run: |space| Box::pin(run(space)),
};

const COUNT: &str = "interceptor.request.count";
const DURATION: &str = "interceptor.request.duration";
const CONCURRENCY: &str = "interceptor.request.concurrency";

/// Requests that find the app up, after the one that has waited for it.
const WARM: u32 = 6;

async fn run(space: Space) -> Result<Findings> {
    space
        .apply_file(include_str!("../../../manifests/metrics/otelcol.yaml"))
        .await?;
    space.workload("otelcol").rolled_out().await?;
    let endpoint = format!("http://otelcol.{}.svc:4318/v1/metrics", space.name);
    let pushing = [
        ("OTEL_EXPORTER_OTLP_METRICS_ENABLED", Some("true")),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", Some(endpoint.as_str())),
        ("OTEL_METRIC_EXPORT_INTERVAL", Some("1000")),
    ];
    let interceptor = space.cluster.system(INTERCEPTOR);
    interceptor.with_env(&pushing, Box::pin(pushed(&space))).await
}

async fn pushed(space: &Space) -> Result<Findings> {
    let app = space.app("api", 0, &[]).await?;
    space.route("api", "").await?;
    let waits = async {
        let what = "the Collector received no metric of a waiting request";
        collected(space, what, |points| points.iter().any(is_waiting)).await?;
        app.scale(1).await
    };
    let (first, ()) = tokio::try_join!(space.get("api", "/"), waits)?;
    first.expect(200)?;
    for _ in 0..WARM {
        space.get("api", "/").await?.expect(200)?;
    }
    let expected = f64::from(WARM + 1);
    let what = "the Collector received another number of requests than were sent";
    collected(space, what, |points| {
        [COUNT, DURATION].iter().all(|metric| total(points, metric) == expected)
    })
    .await?;
    Ok(Findings::new(format!("{expected} of {expected} counted and timed"))
        .and("one seen by the Collector while it was held for a pod"))
}

/// Waits until what the Collector has got of the story's route is as it should be.
async fn collected(space: &Space, what: &str, is_expected: impl Fn(&[Point]) -> bool) -> Result<()> {
    let mut last = Vec::new();
    let seen = wait::until(what, PATIENCE, async || {
        last = of_route(space).await.ok()?;
        is_expected(&last).then_some(())
    })
    .await;
    seen.with_context(|| format!("the last points: {:?}", &last[last.len().saturating_sub(6)..]))
}

async fn of_route(space: &Space) -> Result<Vec<Point>> {
    let pods: Api<Pod> = Api::namespaced(space.cluster.client.clone(), &space.name);
    let names = space.workload("otelcol").pod_names().await?;
    let name = names.first().context("the Collector has no pod")?;
    let log = pods.logs(name, &LogParams::default()).await?;
    let namespace = format!("Str({})", space.name);
    let points = points(&log).into_iter();
    let of_route = points.filter(|point| point.attributes.get("route_namespace") == Some(&namespace));
    Ok(of_route.collect())
}

fn is_waiting(point: &Point) -> bool {
    point.metric == CONCURRENCY && point.value == 1.0
}

/// The last word of each series, added up. Each interceptor has a start of its own, and values only grow.
fn total(points: &[Point], metric: &str) -> f64 {
    let of_metric = points.iter().filter(|point| point.metric == metric);
    let last: BTreeMap<_, f64> = of_metric
        .map(|point| ((&point.start, &point.attributes), point.value))
        .collect();
    last.values().sum()
}
