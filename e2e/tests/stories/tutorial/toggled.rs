//! Tracing is switched on with `kubectl set env` while requests are held: the rollout loses none of them.

use anyhow::{Result, ensure};
use keda_http_e2e::story::caller::herd;
use keda_http_e2e::story::cluster::INTERCEPTOR;
use keda_http_e2e::story::space::PATIENCE;
use keda_http_e2e::story::{Space, Story, Told};

use super::{CHAPTER, tracing};

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "toggled",
    says: "Tracing is switched on and off while requests are held for an app that takes 12 s to start; none is lost",
    alone: true,
    tell: |space| Box::pin(tell(space)),
};

const HELD: u64 = 40;

async fn tell(space: Space) -> Result<Told> {
    let interceptor = space.cluster.system(INTERCEPTOR);
    let app = space.app("slow", 0, &[("STARTUP_DELAY", "12")]).await?;
    space.route("slow", "").await?;
    space.scaled("slow", 1).await?;
    let url = space.cluster.interceptor().await?;
    let mut told = Told::default();
    // The spans go nowhere: that must disturb nobody.
    for (what, endpoint) in [("on", Some("http://nobody.invalid:4317")), ("off", None)] {
        app.asleep(PATIENCE).await?;
        let before = interceptor.pod_names().await?;
        let requests = herd(HELD as usize, &url, &space.host("slow"))?;
        space.held("slow", HELD).await?;
        interceptor.set_env(&tracing(endpoint)).await?;
        let tally = requests.await?;
        interceptor.rolled_out().await?;
        let after = interceptor.pod_names().await?;
        ensure!(
            after.iter().all(|pod| !before.contains(pod)),
            "the pods are new: {before:?} {after:?}"
        );
        tally.expect_all()?;
        told = told.and(format!("switched {what}: {tally}"));
    }
    Ok(told)
}
