//! The tracing tutorial: its server and client, `kedify-http` with `trafficAutowire: service`, and the backends it names.

mod backends;
mod collector_and_zipkin;
mod one_trace;
mod propagation;
mod toggled;
mod zipkin;

use std::pin::Pin;
use std::time::SystemTime;

use anyhow::Result;
use keda_http_e2e::story::cluster::{INTERCEPTOR, Workload};
use keda_http_e2e::story::space::PATIENCE;
use keda_http_e2e::story::{Space, Story};

const CHAPTER: &str = "The tracing tutorial";

pub const STORIES: &[Story] = &[
    one_trace::STORY,
    collector_and_zipkin::STORY,
    toggled::STORY,
    propagation::STORY,
];

/// The variables by which the interceptor sends its spans to `endpoint`.
fn tracing(endpoint: Option<&str>) -> [(&'static str, Option<&str>); 4] {
    [
        ("OTEL_EXPORTER_OTLP_TRACES_ENABLED", endpoint.map(|_| "true")),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", endpoint.map(|_| "grpc")),
        ("OTEL_EXPORTER_OTLP_TRACES_INSECURE", endpoint.map(|_| "true")),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", endpoint),
    ]
}

/// Runs `story` while the interceptor sends its spans to `endpoint`, and ends that afterwards.
async fn traced<T>(space: &Space, endpoint: &str, story: Pin<Box<dyn Future<Output = Result<T>> + '_>>) -> Result<T> {
    let interceptor = space.cluster.system(INTERCEPTOR);
    interceptor.with_env(&tracing(Some(endpoint)), story).await
}

/// The tutorial's objects as they are written, its apps sending their spans to `endpoint`. The server is at zero when this
/// returns.
async fn deploy(space: &Space, endpoint: &str) -> Result<Workload> {
    for (name, manifest) in [
        (
            "otel-tracing-server",
            include_str!("../../manifests/tutorial/server.yaml"),
        ),
        (
            "otel-tracing-client",
            include_str!("../../manifests/tutorial/client.yaml"),
        ),
    ] {
        space.apply_file(manifest).await?;
        let app = space.workload(name);
        app.set_env(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", Some(endpoint))])
            .await?;
        app.rolled_out().await?;
    }
    space
        .apply_file(include_str!("../../manifests/tutorial/scaledobject.yaml"))
        .await?;
    space
        .ready("keda.sh/v1alpha1", "ScaledObject", "otel-tracing-server")
        .await?;
    space.wired("otel-tracing-server").await?;
    let server = space.workload("otel-tracing-server");
    server.asleep(PATIENCE).await?;
    Ok(server)
}

/// `kubectl rollout restart` of the tutorial's client, which calls at its start. Returns the time before that, to
/// distinguish the trace of this call from earlier ones.
async fn restart_client(space: &Space) -> Result<SystemTime> {
    let (client, before) = (space.workload("otel-tracing-client"), SystemTime::now());
    client.restart().await?;
    client.rolled_out().await?;
    Ok(before)
}
