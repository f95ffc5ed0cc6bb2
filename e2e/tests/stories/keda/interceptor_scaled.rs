//! KEDA scales the interceptor itself, by all requests that are pending at it.

use anyhow::{Result, ensure};
use keda_http_e2e::story::caller::burst;
use keda_http_e2e::story::cluster::{INTERCEPTOR, then_put_back};
use keda_http_e2e::story::space::{AUTOSCALER, PATIENCE};
use keda_http_e2e::story::{Findings, Space, Story};
use tokio::time::Instant;

use super::CHAPTER;

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "interceptor_scaled",
    says: "450 held requests at a target of 200 for each interceptor need three interceptors; all are answered once the app is up",
    alone: true,
    run: |space| Box::pin(run(space)),
};

const HELD: u64 = 450;

async fn run(space: Space) -> Result<Findings> {
    let interceptor = space.cluster.system(INTERCEPTOR);
    // What came before may have made more of them.
    space.cluster.one_interceptor().await?;
    let before = interceptor.replicas().await?;
    ensure!(before == 1, "{before} interceptors before anything is held");
    // Nothing scales the app until somebody does it by hand.
    let app = space.app("late", 0, &[]).await?;
    space.route("late", "").await?;
    let started = Instant::now();
    let held = burst(HELD as usize, &space.cluster.interceptor().await?, &space.host("late"))?;
    space.held("late", HELD).await?;
    let grown = async {
        interceptor.scaled(AUTOSCALER, |replicas| replicas == 3).await?;
        let after = started.elapsed();
        interceptor.rolled_out().await?;
        app.scale(1).await?;
        let tally = held.await?;
        tally.expect_all(AUTOSCALER + PATIENCE)?;
        space.get("late", "/").await?.expect(200)?;
        Ok(Findings::new(format!(
            "1 -> 3 interceptors after {} s; {tally}",
            after.as_secs()
        )))
    };
    let findings = Box::pin(async { tokio::time::timeout(AUTOSCALER + PATIENCE, grown).await? });
    let put_back = Box::pin(space.cluster.one_interceptor());
    then_put_back(findings, put_back).await
}
