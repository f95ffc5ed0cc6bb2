//! KEDA's `fallback`: while no interceptor reports to the scaler, it returns an error to KEDA instead of guessing a number, and
//! KEDA goes to the replicas that the ScaledObject names. Callers use the autowired Service meanwhile, which leads to the pods.

use anyhow::Result;
use keda_http_e2e::story::caller::Load;
use keda_http_e2e::story::cluster::{INTERCEPTOR, then_put_back};
use keda_http_e2e::story::space::{AUTOSCALER, PATIENCE, WARM};
use keda_http_e2e::story::{Findings, Space, Story};

use super::CHAPTER;

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "fallback_replicas",
    says: "Without any interceptor KEDA sets the ScaledObject's fallback replicas; requests succeed, and scaling resumes",
    alone: true,
    run: |space| Box::pin(run(space)),
};

async fn run(space: Space) -> Result<Findings> {
    let api = space.app("api", 1, &[]).await?;
    let front = space.autowired_from("api", 1, 5, &[]).await?;
    space
        .patch_scaled_object(
            "api",
            &serde_json::json!({"spec": {"fallback": {"failureThreshold": 3, "replicas": 3}}}),
        )
        .await?;
    let load = Load::start(10, &front, &space.host("api"))?;
    api.scaled(PATIENCE, |replicas| replicas == 1).await?;
    let interceptor = space.cluster.system(INTERCEPTOR);
    let fallen = async {
        space.cluster.pause_interceptor(Some("0")).await?;
        interceptor.asleep(PATIENCE).await?;
        api.scaled(AUTOSCALER, |replicas| replicas == 3).await
    };
    let put_back = async {
        space.cluster.pause_interceptor(None).await?;
        interceptor.scaled(PATIENCE, |replicas| replicas > 0).await?;
        interceptor.rolled_out().await
    };
    then_put_back(fallen, put_back).await?;
    api.scaled(AUTOSCALER, |replicas| replicas == 1).await?;
    let tally = load.stop().await?;
    tally.expect_all(WARM)?;
    Ok(Findings::new(format!("1 -> 3 -> 1 replicas; {tally}")))
}
