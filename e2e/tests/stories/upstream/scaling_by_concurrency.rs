//! Scaling by how many requests are pending, and that load on one app scales no other.

use std::time::Duration;

use anyhow::Result;
use keda_http_e2e::story::caller::Load;
use keda_http_e2e::story::cluster::Workload;
use keda_http_e2e::story::space::{AUTOSCALER, PATIENCE, WAKE};
use keda_http_e2e::story::{Findings, Space, Story};

use super::CHAPTER;

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "scaling_by_concurrency",
    says: "Ten requests a second of half a second each scale by concurrency; another app is not affected",
    alone: false,
    run: |space| Box::pin(run(space)),
};

/// How long there is load at least, while the other app must not wake.
const LOADED: Duration = Duration::from_secs(20);
/// For how long nothing may come back.
const STABLE: Duration = Duration::from_secs(30);

async fn run(space: Space) -> Result<Findings> {
    let slow = space.app("slow", 0, &[("RESPONSE_DELAY", "0.5")]).await?;
    let other = space.app("other", 0, &[]).await?;
    for (name, app) in [("slow", &slow), ("other", &other)] {
        by_concurrency(&space, name, app).await?;
    }
    let load = Load::start(10, &space.cluster.interceptor().await?, &space.host("slow"))?;
    let scaled = slow.scaled(AUTOSCALER, |replicas| replicas >= 2);
    let (most, ()) = tokio::try_join!(scaled, other.stays(LOADED, 0))?;
    let tally = load.stop().await?;
    tally.expect_all(WAKE)?;
    slow.asleep(AUTOSCALER).await?;
    slow.stays(STABLE, 0).await?;
    Ok(Findings::new(format!(
        "0 -> {most} -> 0 replicas, and 0 for {} s; {tally}",
        STABLE.as_secs()
    ))
    .and(format!("the other app stayed at 0 for {} s of load", LOADED.as_secs())))
}

async fn by_concurrency(space: &Space, name: &str, app: &Workload) -> Result<()> {
    let metric = "  scalingMetric: {concurrency: {targetValue: 2}}\n";
    space.route(name, metric).await?;
    space.scaled(name, 5).await?;
    app.asleep(PATIENCE).await
}
