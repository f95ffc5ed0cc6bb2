//! The same by an OpenTelemetry Collector, which sends everything to Jaeger and to Zipkin at once.

use anyhow::{Result, ensure};
use keda_http_e2e::story::traces::{in_jaeger, in_zipkin};
use keda_http_e2e::story::{Findings, Space, Story};

use super::one_trace::{TREE, whole};
use super::{CHAPTER, backends, deploy, restart_client, traced, zipkin};

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "collector_and_zipkin",
    says: "Through the Collector, the same trace is complete in Jaeger and in Zipkin",
    alone: true,
    run: |space| Box::pin(run(space)),
};

async fn run(space: Space) -> Result<Findings> {
    let zipkin = zipkin::start(&space).await?;
    let (query, _) = backends::jaeger(&space).await?;
    let otlp = backends::collector(&space).await?;
    let names: Vec<&str> = TREE.iter().map(|(name, _)| *name).collect();
    let (jaegers, zipkins) = traced(
        &space,
        &otlp,
        Box::pin(async {
            deploy(&space, &otlp).await?;
            let since = restart_client(&space).await?;
            let trace = in_jaeger(&query, "http-call", &names, since).await?;
            let other = in_zipkin(&zipkin.query, &trace.id, &names).await?;
            Ok((trace, other))
        }),
    )
    .await?;
    whole(&jaegers)?;
    whole(&zipkins)?;
    ensure!(jaegers.spans.len() == zipkins.spans.len(), "both have all spans");
    Ok(Findings::new(format!(
        "{} spans in Jaeger and in Zipkin, trace {}",
        jaegers.spans.len(),
        jaegers.id
    )))
}
