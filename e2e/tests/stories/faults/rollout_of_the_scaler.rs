//! `kubectl rollout restart` of the scaler: KEDA goes on with the new pods, and asks them.

use std::time::Duration;

use anyhow::Result;
use keda_http_e2e::story::cluster::SCALER;
use keda_http_e2e::story::{Findings, Space, Story};

use super::CHAPTER;
use super::rollout::{rollout, wake_afterwards};

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "rollout_of_the_scaler",
    says: "During a rollout of the scaler no request fails, and wakes work",
    alone: true,
    run: |space| Box::pin(run(space)),
};

/// Its pods, of which the chart has three, are replaced one after the other, each when the new one has been ready for ten seconds.
const STARTUP: Duration = Duration::from_secs(60);

async fn run(space: Space) -> Result<Findings> {
    let findings = Box::pin(rollout(&space, SCALER, STARTUP)).await?;
    Ok(findings.and(Box::pin(wake_afterwards(&space)).await?))
}
