//! All interceptors go: the autowired Service leads to the app's own pods, and back when they return. Its callers do not notice.

use anyhow::{Result, ensure};
use keda_http_e2e::story::caller::{self, Load};
use keda_http_e2e::story::cluster::{INTERCEPTOR, then_put_back};
use keda_http_e2e::story::space::{PATIENCE, WARM};
use keda_http_e2e::story::{Findings, Space, Story};
use keda_http_e2e::wait;

use super::CHAPTER;
use super::traffic::RATE;

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "autowire_fallback",
    says: "Without interceptors, an autowired Service points to the app's own pods, and back afterwards; no request fails",
    alone: true,
    run: |space| Box::pin(run(space)),
};

async fn run(space: Space) -> Result<Findings> {
    let api = space.app("api", 1, &[]).await?;
    let front = space.autowired("api", 1).await?;
    // Without traffic the app sleeps by now; its cold start is not part of the load.
    caller::get(&front, &space.host("api")).await?.expect(200)?;
    let load = Load::start(RATE, &front, &space.host("api"))?;
    // KEDA may have put it to sleep a moment ago: what follows is so when it has seen the traffic.
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
    then_put_back(
        Box::pin(without_interceptors(&space)),
        space.cluster.pause_interceptor(None),
    )
    .await?;
    let interceptor = space.cluster.system(INTERCEPTOR);
    interceptor.scaled(PATIENCE, |replicas| replicas > 0).await?;
    interceptor.rolled_out().await?;
    leads(
        &space,
        "the Service does not point back to the interceptors",
        |front, ours| front != ours,
    )
    .await?;
    let tally = load.stop().await?;
    tally.expect_all(WARM)?;
    Ok(Findings::new(format!("{tally}")))
}

/// KEDA scales the interceptor; here it has to keep it at zero.
async fn without_interceptors(space: &Space) -> Result<()> {
    space.cluster.pause_interceptor(Some("0")).await?;
    space.cluster.system(INTERCEPTOR).asleep(PATIENCE).await?;
    leads(space, "the Service does not lead to the pods", |front, ours| {
        front == ours
    })
    .await
}

/// Waits until the callers' Service and the app's own lead where they should; both lead somewhere.
async fn leads(space: &Space, what: &str, wanted: fn(&[String], &[String]) -> bool) -> Result<()> {
    wait::until(what, PATIENCE, async || {
        let (front, ours) = (
            space.endpoints("api-front").await.ok()?,
            space.endpoints("api").await.ok()?,
        );
        (!front.is_empty() && !ours.is_empty() && wanted(&front, &ours)).then_some(())
    })
    .await
}
