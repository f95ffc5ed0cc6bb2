//! An app that never gets ready, and another one that is not touched by that.

use anyhow::Result;
use keda_http_e2e::story::caller::Load;
use keda_http_e2e::story::space::WARM;
use keda_http_e2e::story::{Findings, Space, Story};

use super::CHAPTER;
use super::broken_app::{BROKEN, gives_up};
use super::traffic::RATE;

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "app_never_ready",
    says: "Requests for an app that never becomes ready get 504; another app answers all the time",
    alone: false,
    run: |space| Box::pin(run(space)),
};

async fn run(space: Space) -> Result<Findings> {
    let app = space.app(BROKEN, 0, &[("STARTUP_DELAY", "3600")]).await?;
    space.app("other", 1, &[]).await?;
    space.route("other", "").await?;
    let load = Load::start(RATE, &space.cluster.interceptor().await?, &space.host("other"))?;
    let refused = gives_up(&space, &app).await?;
    let tally = load.stop().await?;
    tally.expect_all(WARM)?;
    Ok(Findings::new(refused).and(format!("the other app meanwhile: {tally}")))
}
