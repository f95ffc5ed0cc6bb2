//! `kubectl rollout restart` of KEDA's operator: the new one goes on where the old one has ended.

use std::time::Duration;

use anyhow::Result;
use keda_http_e2e::story::cluster::KEDA_OPERATOR;
use keda_http_e2e::story::{Findings, Space, Story};

use super::CHAPTER;
use super::rollout::{rollout, wake_afterwards};

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "rollout_of_keda",
    says: "During a rollout of KEDA's operator no request fails, and wakes work",
    alone: true,
    run: |space| Box::pin(run(space)),
};

/// As KEDA comes, its new pod is asked for its readiness after 20 s for the first time.
const STARTUP: Duration = Duration::from_secs(40);

async fn run(space: Space) -> Result<Findings> {
    let findings = Box::pin(rollout(&space, KEDA_OPERATOR, STARTUP)).await?;
    Ok(findings.and(Box::pin(wake_afterwards(&space)).await?))
}
