//! KEDA scales the interceptor itself, by all requests that are pending at it.

use std::time::Duration;

use anyhow::Result;
use keda_http_e2e::story::caller::herd;
use keda_http_e2e::story::cluster::INTERCEPTOR;
use keda_http_e2e::story::space::PATIENCE;
use keda_http_e2e::story::{Space, Story, Told};
use tokio::time::Instant;

use super::CHAPTER;

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "interceptor_scaled",
    says: "450 held requests, against 200 for each interceptor, make three interceptors; all are answered once the app is up",
    alone: true,
    tell: |space| Box::pin(tell(space)),
};

const HELD: u64 = 450;
/// The autoscaler looks every 15 seconds.
const AUTOSCALER: Duration = Duration::from_secs(120);

async fn tell(space: Space) -> Result<Told> {
    // Nothing scales the app until somebody does it by hand.
    let app = space.app("late", 0, &[]).await?;
    space.route("late", "").await?;
    let started = Instant::now();
    let held = herd(HELD as usize, &space.cluster.interceptor().await?, &space.host("late"))?;
    space.held("late", HELD).await?;
    let grown = async {
        let interceptor = space.cluster.system(INTERCEPTOR);
        interceptor.scaled(AUTOSCALER, |replicas| replicas == 3).await?;
        let after = started.elapsed();
        interceptor.rolled_out().await?;
        app.scale(1).await?;
        let tally = held.await?;
        tally.expect_all()?;
        space.get("late", "/").await?.expect(200)?;
        Ok(Told::that(format!(
            "1 -> 3 interceptors after {} s; {tally}",
            after.as_secs()
        )))
    };
    let told = tokio::time::timeout(AUTOSCALER + PATIENCE, grown).await;
    space.cluster.one_interceptor().await?;
    told?
}
