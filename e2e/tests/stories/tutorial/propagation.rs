//! With tracing off the interceptor makes no spans, and the server's are below the client's all the same.

use anyhow::{Context, Result, ensure};
use keda_http_e2e::story::traces::in_jaeger;
use keda_http_e2e::story::{Findings, Space, Story};

use super::{CHAPTER, backends, deploy, restart_client};

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "propagation",
    says: "With tracing off, the caller's trace context is passed on unchanged",
    alone: true,
    run: |space| Box::pin(run(space)),
};

async fn run(space: Space) -> Result<Findings> {
    let (query, otlp) = backends::jaeger(&space).await?;
    deploy(&space, &otlp).await?;
    let since = restart_client(&space).await?;
    let trace = in_jaeger(
        &query,
        "http-call",
        &["/", "handling-request", "inner server span"],
        since,
    )
    .await?;
    let parent = trace.parent(trace.span("handling-request")?).context("a parent")?;
    ensure!(parent.name == "/", "the server's span is below {}", parent.name);
    ensure!(
        trace.spans.iter().all(|span| span.service == "http-call"),
        "{:?}",
        trace.names()
    );
    Ok(Findings::new(format!(
        "{} spans, none of the interceptor's",
        trace.spans.len()
    )))
}
