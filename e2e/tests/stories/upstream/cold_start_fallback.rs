//! An app at zero that nothing scales: after the route's readiness timeout the fallback Service answers.

use std::time::Duration;

use anyhow::{Result, ensure};
use keda_http_e2e::story::{Findings, Space, Story};

use super::CHAPTER;

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "cold_start_fallback",
    says: "When an app does not become ready in time, its fallback Service answers",
    alone: false,
    run: |space| Box::pin(run(space)),
};

async fn run(space: Space) -> Result<Findings> {
    space.app("api", 0, &[]).await?;
    space.app("spare", 1, &[]).await?;
    space
        .route(
            "api",
            "  timeouts: {readiness: 1s}
  coldStart: {fallback: {service: {name: spare, port: 8080}}}
",
        )
        .await?;
    let answer = space.get("api", "/").await?.expect(200)?;
    ensure!(answer.pod().starts_with("spare-"), "{answer:?}");
    ensure!(
        answer.took >= Duration::from_secs(1),
        "not before the second is over: {answer:?}"
    );
    Ok(Findings::new(format!(
        "answered by `spare` after {:.2} s",
        answer.took.as_secs_f64()
    )))
}
