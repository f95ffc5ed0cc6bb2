//! The target of a route is changed: KEDA hears of it by `StreamMetricSpec`, and the autoscaler has it without an edit of the
//! ScaledObject.

use std::time::Duration;

use anyhow::{Result, ensure};
use keda_http_e2e::story::space::PATIENCE;
use keda_http_e2e::story::{Findings, Space, Story};
use keda_http_e2e::wait;
use tokio::time::Instant;

use super::CHAPTER;

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "changed_target",
    says: "A changed target of a route reaches the autoscaler within seconds; the ScaledObject does not change",
    alone: false,
    run: |space| Box::pin(run(space)),
};

/// Without the stream KEDA would look again after hours.
const SOON: Duration = Duration::from_secs(30);

async fn run(space: Space) -> Result<Findings> {
    space.app("api", 1, &[]).await?;
    space
        .route("api", "  scalingMetric: {concurrency: {targetValue: 42}}\n")
        .await?;
    space.scaled("api", 5).await?;
    let autoscalers = space.objects("autoscaling/v2", "HorizontalPodAutoscaler").await?;
    let target = async || {
        let autoscaler = autoscalers.get("keda-hpa-api").await.ok()?;
        let target = &autoscaler.data["spec"]["metrics"][0]["external"]["target"];
        Some(target["averageValue"].as_str()?.to_owned())
    };
    wait::until("the autoscaler has no target", PATIENCE, async || {
        target().await.filter(|value| value == "42")
    })
    .await?;
    let before = space.scaled_objects().get("api").await?;
    let changed = Instant::now();
    space
        .route("api", "  scalingMetric: {concurrency: {targetValue: 7}}\n")
        .await?;
    wait::until_measured("the autoscaler keeps its target", SOON, async || {
        target().await.filter(|value| value == "7")
    })
    .await?;
    let took = changed.elapsed();
    let after = space.scaled_objects().get("api").await?;
    ensure!(
        before.metadata.generation == after.metadata.generation,
        "the ScaledObject was edited"
    );
    Ok(Findings::new(format!("42 -> 7 after {:.1} s", took.as_secs_f64())))
}
