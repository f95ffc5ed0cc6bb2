//! Scaling by the rate of requests, from zero and back to it.

use std::time::Duration;

use anyhow::Result;
use keda_http_e2e::story::caller::Load;
use keda_http_e2e::story::space::{AUTOSCALER, PATIENCE, WAKE};
use keda_http_e2e::story::{Findings, Space, Story};

use super::CHAPTER;

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "scaling_by_rate",
    says: "10 requests a second at a target of 5 need two replicas; without load the app scales to zero and stays there",
    alone: false,
    run: |space| Box::pin(run(space)),
};

/// For how long nothing may come back.
const STABLE: Duration = Duration::from_secs(30);

async fn run(space: Space) -> Result<Findings> {
    let api = space.app("api", 0, &[]).await?;
    space
        .route(
            "api",
            "  scalingMetric: {requestRate: {targetValue: 5, window: 10s, granularity: 1s}}\n",
        )
        .await?;
    space.scaled("api", 5).await?;
    api.asleep(PATIENCE).await?;
    let load = Load::start(10, &space.cluster.interceptor().await?, &space.host("api"))?;
    api.scaled(AUTOSCALER, |replicas| replicas == 2).await?;
    let tally = load.stop().await?;
    tally.expect_all(WAKE)?;
    api.asleep(AUTOSCALER).await?;
    api.stays(STABLE, 0).await?;
    Ok(Findings::new(format!(
        "0 -> 2 -> 0 replicas, and 0 for {} s; {tally}",
        STABLE.as_secs()
    )))
}
