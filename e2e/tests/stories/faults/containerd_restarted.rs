//! The node's containerd is restarted: containers do not depend on it while they run.

use anyhow::Result;
use keda_http_e2e::story::space::{WAKE, WARM};
use keda_http_e2e::story::{Findings, Space, Story};

use super::CHAPTER;
use super::traffic::{STARTUP, Traffic, next_wake, node};

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "containerd_restarted",
    says: "When the node's containerd is restarted, no request fails, and a wake afterwards works",
    alone: true,
    run: |space| Box::pin(run(space)),
};

async fn run(space: Space) -> Result<Findings> {
    let node = node(&space)?;
    let traffic = Traffic::start(&space, STARTUP).await?;
    node.restart("containerd").await?;
    let (load, held) = traffic.end_when_whole(&space).await?;
    load.expect_all(WARM)?;
    held.expect_all(STARTUP + WAKE)?;
    Ok(Findings::new(format!("load: {load}"))
        .and(format!("held: {held}"))
        .and(next_wake(&space).await?))
}
