//! KEDA's `fallback`: without any scaler KEDA keeps the replicas that the ScaledObject names, and follows the rate again when
//! the scaler is back.

use std::time::Duration;

use anyhow::Result;
use keda_http_e2e::story::caller::Load;
use keda_http_e2e::story::cluster::SCALER;
use keda_http_e2e::story::space::PATIENCE;
use keda_http_e2e::story::{Space, Story, Told};

use super::CHAPTER;

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "fallback_replicas",
    says: "While no scaler is there KEDA goes to the ScaledObject's fallback replicas; requests go on, and scaling comes back",
    alone: true,
    tell: |space| Box::pin(tell(space)),
};

/// The autoscaler looks every 15 seconds.
const AUTOSCALER: Duration = Duration::from_secs(120);

async fn tell(space: Space) -> Result<Told> {
    let keda = space.cluster.keda.clone();
    let api = space.app("api", 1, &[]).await?;
    space.route("api", "").await?;
    space
        .apply(&format!(
            "apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {{name: api}}
spec:
  scaleTargetRef: {{name: api}}
  minReplicaCount: 1
  maxReplicaCount: 5
  pollingInterval: 1
  fallback: {{failureThreshold: 3, replicas: 3}}
  advanced:
    horizontalPodAutoscalerConfig:
      behavior: {{scaleDown: {{stabilizationWindowSeconds: 5}}}}
  triggers:
    - type: external-push
      metadata: {{scalerAddress: 'keda-add-ons-http-external-scaler.{keda}:9090', interceptorRoute: api}}
"
        ))
        .await?;
    space.ready("keda.sh/v1alpha1", "ScaledObject", "api").await?;
    let scaler = space.cluster.system(SCALER);
    let replicas = scaler.replicas().await?;
    let load = Load::start(10, &space.cluster.interceptor().await?, &space.host("api"))?;
    scaler.scale(0).await?;
    let fallen = async {
        scaler.asleep(PATIENCE).await?;
        api.scaled(AUTOSCALER, |replicas| replicas == 3).await
    };
    let fallen = fallen.await;
    scaler.scale(replicas).await?;
    scaler.rolled_out().await?;
    fallen?;
    api.scaled(AUTOSCALER, |replicas| replicas == 1).await?;
    let tally = load.stop().await?;
    tally.expect_all()?;
    Ok(Told::that(format!("1 -> 3 -> 1 replicas; {tally}")))
}
