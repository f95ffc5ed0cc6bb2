//! KEDA's `fallback`: while no interceptor tells the scaler anything, it says so to KEDA instead of guessing a number, and
//! KEDA goes to the replicas that the ScaledObject names. Callers use the autowired Service meanwhile, which leads to the pods.

use std::time::Duration;

use anyhow::Result;
use keda_http_e2e::story::caller::Load;
use keda_http_e2e::story::cluster::INTERCEPTOR;
use keda_http_e2e::story::space::PATIENCE;
use keda_http_e2e::story::{Space, Story, Told};

use super::CHAPTER;

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "fallback_replicas",
    says: "While no interceptor is there KEDA goes to the ScaledObject's fallback replicas; requests go on, and scaling comes back",
    alone: true,
    tell: |space| Box::pin(tell(space)),
};

/// The autoscaler looks every 15 seconds.
const AUTOSCALER: Duration = Duration::from_secs(120);

async fn tell(space: Space) -> Result<Told> {
    let api = space.app("api", 1, &[]).await?;
    let front = space.autowired_from("api", 1, 5, &[]).await?;
    space
        .patch_scaled_object(
            "api",
            &serde_json::json!({"spec": {"fallback": {"failureThreshold": 3, "replicas": 3}}}),
        )
        .await?;
    let load = Load::start(10, &front, &space.host("api"))?;
    space.cluster.pause_interceptor(Some("0")).await?;
    let fallen = api.scaled(AUTOSCALER, |replicas| replicas == 3).await;
    space.cluster.pause_interceptor(None).await?;
    let interceptor = space.cluster.system(INTERCEPTOR);
    interceptor.scaled(PATIENCE, |replicas| replicas > 0).await?;
    interceptor.rolled_out().await?;
    fallen?;
    api.scaled(AUTOSCALER, |replicas| replicas == 1).await?;
    let tally = load.stop().await?;
    tally.expect_all()?;
    Ok(Told::that(format!("1 -> 3 -> 1 replicas; {tally}")))
}
