//! `kubectl rollout restart` of the interceptor, the scaler and KEDA's operator, under load and with requests held: nobody can tell.

use anyhow::{Result, ensure};
use keda_http_e2e::story::cluster::{INTERCEPTOR, KEDA_OPERATOR, SCALER};
use keda_http_e2e::story::{Space, Story, Told};

use super::{CHAPTER, Traffic};

pub const INTERCEPTOR_STORY: Story = Story {
    chapter: CHAPTER,
    name: "rollout_of_the_interceptor",
    says: "A rollout of the interceptor fails no request, neither those under way nor those held",
    alone: true,
    tell: |space| Box::pin(rollout(space, INTERCEPTOR)),
};

pub const SCALER_STORY: Story = Story {
    chapter: CHAPTER,
    name: "rollout_of_the_scaler",
    says: "A rollout of the scaler fails no request, and wakes go on",
    alone: true,
    tell: |space| Box::pin(rollout(space, SCALER)),
};

pub const KEDA_STORY: Story = Story {
    chapter: CHAPTER,
    name: "rollout_of_keda",
    says: "A rollout of KEDA's operator fails no request, and wakes go on",
    alone: true,
    tell: |space| Box::pin(rollout(space, KEDA_OPERATOR)),
};

async fn rollout(space: Space, name: &'static str) -> Result<Told> {
    let traffic = Traffic::start(&space).await?;
    let workload = space.cluster.system(name);
    let before = workload.pod_names().await?;
    workload.restart().await?;
    workload.rolled_out().await?;
    let after = workload.pod_names().await?;
    ensure!(
        after.iter().all(|pod| !before.contains(pod)),
        "the pods are new: {before:?} {after:?}"
    );
    let (load, held) = traffic.end().await?;
    load.expect_all()?;
    held.expect_all()?;
    Ok(Told::that(format!("load: {load}")).and(format!("held: {held}")))
}
