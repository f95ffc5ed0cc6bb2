//! The tracing tutorial: its server and client, `kedify-http` with `trafficAutowire: service`, and the backends it names.

mod backends;
mod collector_and_zipkin;
mod one_trace;
mod propagation;
mod toggled;

use std::pin::Pin;

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

/// Tells `story` while the interceptor sends its spans to `endpoint`; then it does so no more.
async fn traced<T>(space: &Space, endpoint: &str, story: Pin<Box<dyn Future<Output = Result<T>> + '_>>) -> Result<T> {
    let interceptor = space.cluster.system(INTERCEPTOR);
    interceptor.set_env(&tracing(Some(endpoint))).await?;
    interceptor.rolled_out().await?;
    let told = story.await;
    interceptor.set_env(&tracing(None)).await?;
    interceptor.rolled_out().await?;
    told
}

/// The tutorial's objects as they are written, its apps sending their spans to `endpoint`. The server is at zero when this
/// returns.
async fn deploy(space: &Space, endpoint: &str) -> Result<Workload> {
    let server = space.workload("otel-tracing-server");
    let spans = [("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", Some(endpoint))];
    space
        .apply_file(include_str!("../../manifests/tutorial/server.yaml"))
        .await?;
    server.set_env(&spans).await?;
    space
        .apply_file(include_str!("../../manifests/tutorial/scaledobject.yaml"))
        .await?;
    space
        .ready("keda.sh/v1alpha1", "ScaledObject", "otel-tracing-server")
        .await?;
    server.asleep(PATIENCE).await?;
    Ok(server)
}

/// Starts the tutorial's client, which calls once at its start. A change of its variables afterwards would make it call twice.
async fn call(space: &Space, endpoint: &str) -> Result<()> {
    let client = include_str!("../../manifests/tutorial/client.yaml");
    let variable = format!("env:\n            - {{name: OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, value: \"{endpoint}\"}}");
    space.apply_file(&client.replacen("env:", &variable, 1)).await?;
    space.workload("otel-tracing-client").rolled_out().await
}
