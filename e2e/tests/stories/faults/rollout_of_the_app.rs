//! `kubectl rollout restart` of an app: requests in progress are answered by the old pods, the next ones by the new pods.
//!
//! An app that stops listening as soon as it gets SIGTERM needs no `preStop` hook: a connection that is refused, or closed
//! while it was idle, does not fail a request: the interceptor sends the request to another pod.

use anyhow::Result;
use keda_http_e2e::story::caller::Load;
use keda_http_e2e::story::space::WARM;
use keda_http_e2e::story::{Findings, Space, Story};

use super::CHAPTER;
use super::traffic::{RATE, is_answered};

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "rollout_of_the_app",
    says: "During a rollout of an app with two pods no request fails, neither those in progress nor new ones",
    alone: false,
    run: |space| Box::pin(run(space)),
};

/// Ten requests are under way at any time.
const RESPONSE_DELAY: &str = "0.5";

async fn run(space: Space) -> Result<Findings> {
    let app = space.app("api", 2, &[("RESPONSE_DELAY", RESPONSE_DELAY)]).await?;
    space.route("api", "").await?;
    let load = Load::start(RATE, &space.cluster.interceptor().await?, &space.host("api"))?;
    is_answered(&load).await?;
    let before = app.pod_names().await?;
    app.restart().await?;
    app.replaced(&before).await?;
    app.rolled_out().await?;
    let tally = load.stop().await?;
    tally.expect_all(WARM)?;
    Ok(Findings::new(format!(
        "{} pods replaced, each request of half a second: {tally}",
        before.len()
    )))
}
