//! Three scalers, of which one is deleted while requests are held: wakes go on by the others.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use keda_http_e2e::story::cluster::SCALER;
use keda_http_e2e::story::space::PATIENCE;
use keda_http_e2e::story::{Space, Story, Told};
use kube::api::{Api, DeleteParams};

use super::CHAPTER;

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "three_scalers",
    says: "With three scalers, one of which is killed before each of three wakes, every wake is answered",
    alone: true,
    tell: |space| Box::pin(tell(space)),
};

async fn tell(space: Space) -> Result<Told> {
    let scaler = space.cluster.system(SCALER);
    let replicas = scaler.replicas().await?;
    scaler.scale(3).await?;
    let told = wakes(&space).await;
    scaler.scale(replicas).await?;
    scaler.rolled_out().await?;
    told
}

async fn wakes(space: &Space) -> Result<Told> {
    let scaler = space.cluster.system(SCALER);
    scaler.rolled_out().await?;
    let api = space.app("api", 0, &[]).await?;
    space.route("api", "").await?;
    space.scaled("api", 1).await?;
    let pods: Api<Pod> = Api::namespaced(space.cluster.client.clone(), &space.cluster.keda);
    let mut took = Vec::new();
    for number in 0..3 {
        api.asleep(PATIENCE).await?;
        let name = scaler.pod_names().await?.into_iter().nth(number).context("a scaler")?;
        pods.delete(&name, &DeleteParams::default().grace_period(0)).await?;
        took.push(space.get("api", "/").await?.expect(200)?.took);
        scaler.rolled_out().await?;
    }
    let seconds = |took: &Duration| format!("{:.2} s", took.as_secs_f64());
    let all: Vec<String> = took.iter().map(seconds).collect();
    Ok(Told::that(format!("wakes took {}", all.join(", "))))
}
