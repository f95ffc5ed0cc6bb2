//! `kubectl rollout restart` of KEDA's operator: the new one goes on where the old one has ended.

use std::time::Duration;

use anyhow::Result;
use keda_http_e2e::story::cluster::KEDA_OPERATOR;
use keda_http_e2e::story::{Space, Story, Told};

use super::CHAPTER;
use super::rollout::{rollout, wake_afterwards};

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "rollout_of_keda",
    says: "A rollout of KEDA's operator fails no request, and wakes go on",
    alone: true,
    tell: |space| Box::pin(tell(space)),
};

/// As KEDA comes, its new pod is asked for its readiness after 20 s for the first time.
const STARTUP: Duration = Duration::from_secs(40);

async fn tell(space: Space) -> Result<Told> {
    let told = Box::pin(rollout(&space, KEDA_OPERATOR, STARTUP)).await?;
    Ok(told.and(Box::pin(wake_afterwards(&space)).await?))
}
