//! Scaling by rate and by concurrency, and that load on one app scales no other.

use std::time::Duration;

use anyhow::{Result, ensure};
use keda_http_e2e::story::caller::Load;
use keda_http_e2e::story::space::PATIENCE;
use keda_http_e2e::story::{Space, Story, Told};

use super::CHAPTER;

pub const BY_RATE: Story = Story {
    chapter: CHAPTER,
    name: "scaling_by_rate",
    says: "10 requests a second against a target of 5 make two replicas; without load there are none, and none come back",
    alone: false,
    tell: |space| Box::pin(by_rate(space)),
};

pub const BY_CONCURRENCY: Story = Story {
    chapter: CHAPTER,
    name: "scaling_by_concurrency",
    says: "Requests of half a second, ten a second, scale by how many are pending; another app is left alone",
    alone: false,
    tell: |space| Box::pin(by_concurrency(space)),
};

/// The horizontal pod autoscaler looks every 15 seconds.
const AUTOSCALER: Duration = Duration::from_secs(90);
/// For how long nothing may come back.
const STABLE: Duration = Duration::from_secs(30);

async fn by_rate(space: Space) -> Result<Told> {
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
    tally.expect_all()?;
    api.asleep(AUTOSCALER).await?;
    stays_asleep(&api).await?;
    Ok(Told::that(format!("0 -> 2 -> 0 replicas; {tally}")))
}

async fn by_concurrency(space: Space) -> Result<Told> {
    let slow = space.app("slow", 0, &[("RESPONSE_DELAY", "0.5")]).await?;
    let other = space.app("other", 0, &[]).await?;
    for name in ["slow", "other"] {
        space
            .route(name, "  scalingMetric: {concurrency: {targetValue: 2}}\n")
            .await?;
        space.scaled(name, 5).await?;
    }
    slow.asleep(PATIENCE).await?;
    other.asleep(PATIENCE).await?;
    let load = Load::start(10, &space.cluster.interceptor().await?, &space.host("slow"))?;
    let most = slow.scaled(AUTOSCALER, |replicas| replicas >= 2).await?;
    ensure!(other.replicas().await? == 0, "load on one app has woken another");
    let tally = load.stop().await?;
    tally.expect_all()?;
    slow.asleep(AUTOSCALER).await?;
    stays_asleep(&slow).await?;
    Ok(Told::that(format!("0 -> {most} -> 0 replicas; {tally}")))
}

async fn stays_asleep(app: &keda_http_e2e::story::cluster::Workload) -> Result<()> {
    let woken = app.scaled(STABLE, |replicas| replicas > 0).await;
    ensure!(woken.is_err(), "the app has come back without a request");
    Ok(())
}
