//! The node's containerd is restarted: containers do not depend on it while they run.

use anyhow::Result;
use keda_http_e2e::story::space::{WAKE, WARM};
use keda_http_e2e::story::{Space, Story, Told};

use super::CHAPTER;
use super::traffic::{STARTUP, Traffic, next_wake, node};

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "containerd_restarted",
    says: "A restart of the node's containerd fails no request, and a wake afterwards works",
    alone: true,
    tell: |space| Box::pin(tell(space)),
};

async fn tell(space: Space) -> Result<Told> {
    let node = node(&space)?;
    let traffic = Traffic::start(&space, STARTUP).await?;
    node.restart("containerd").await?;
    let (load, held) = traffic.end_when_whole(&space).await?;
    load.expect_all(WARM)?;
    held.expect_all(STARTUP + WAKE)?;
    Ok(Told::that(format!("load: {load}"))
        .and(format!("held: {held}"))
        .and(next_wake(&space).await?))
}
