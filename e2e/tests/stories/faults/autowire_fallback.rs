//! All interceptors go: the autowired Service leads to the app's own pods, and back when they return. Its callers cannot tell.

use anyhow::{Result, ensure};
use keda_http_e2e::story::caller::Load;
use keda_http_e2e::story::cluster::INTERCEPTOR;
use keda_http_e2e::story::space::PATIENCE;
use keda_http_e2e::story::{Space, Story, Told};
use keda_http_e2e::wait;

use super::{CHAPTER, RATE};

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "autowire_fallback",
    says: "Without interceptors an autowired Service leads to the app's own pods, and back; no request fails",
    alone: true,
    tell: |space| Box::pin(tell(space)),
};

async fn tell(space: Space) -> Result<Told> {
    let api = space.app("api", 1, &[]).await?;
    let front = space.autowired("api", 1).await?;
    let load = Load::start(RATE, &front, &space.host("api"))?;
    // KEDA had set a new workload without traffic to its minimum.
    space
        .condition("keda.sh/v1alpha1", "ScaledObject", "api", "Active", "True")
        .await?;
    api.scaled(PATIENCE, |replicas| replicas == 1).await?;
    api.rolled_out().await?;
    let ours = space.endpoints("api").await?;
    ensure!(
        space.endpoints("api-front").await? != ours,
        "the Service leads to the interceptors"
    );

    // KEDA scales the interceptor; it is told to keep it at zero, and then not to.
    let told = async {
        space.cluster.pause_interceptor(Some("0")).await?;
        space.cluster.system(INTERCEPTOR).asleep(PATIENCE).await?;
        wait::until("the Service does not lead to the pods", PATIENCE, async || {
            let (front, ours) = (
                space.endpoints("api-front").await.ok()?,
                space.endpoints("api").await.ok()?,
            );
            (!ours.is_empty() && front == ours).then_some(())
        })
        .await
    };
    let told = told.await;
    space.cluster.pause_interceptor(None).await?;
    told?;
    let interceptor = space.cluster.system(INTERCEPTOR);
    interceptor.scaled(PATIENCE, |replicas| replicas > 0).await?;
    interceptor.rolled_out().await?;
    wait::until("the Service does not lead back", PATIENCE, async || {
        let (front, ours) = (
            space.endpoints("api-front").await.ok()?,
            space.endpoints("api").await.ok()?,
        );
        (!front.is_empty() && front != ours).then_some(())
    })
    .await?;
    let tally = load.stop().await?;
    tally.expect_all()?;
    Ok(Told::that(format!("{tally}")))
}
