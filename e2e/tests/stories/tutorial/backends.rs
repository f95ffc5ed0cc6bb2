//! Where spans go: Jaeger and the Collector, as pods of the story.

use anyhow::Result;
use keda_http_e2e::story::Space;

/// Starts Jaeger; gives its query API and where it takes OTLP from inside the cluster.
pub async fn jaeger(space: &Space) -> Result<(String, String)> {
    space
        .apply_file(include_str!("../../../manifests/tracing/jaeger.yaml"))
        .await?;
    space.workload("jaeger-all-in-one").rolled_out().await?;
    let query = space.url("jaeger-all-in-one", 16686).await?;
    Ok((query, format!("http://jaeger-all-in-one.{}.svc:4317", space.name)))
}

/// Starts the Collector, which sends on to Jaeger and to Zipkin; gives where it takes OTLP.
pub async fn collector(space: &Space) -> Result<String> {
    space
        .apply_file(include_str!("../../../manifests/tracing/otelcol.yaml"))
        .await?;
    space.workload("otelcol").rolled_out().await?;
    Ok(format!("http://otelcol.{}.svc:4317", space.name))
}
