//! `kubectl rollout restart` of the interceptor: the old pod has its requests answered before it ends.

use std::time::Duration;

use keda_http_e2e::story::Story;
use keda_http_e2e::story::cluster::INTERCEPTOR;

use super::CHAPTER;
use super::rollout::rollout;

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "rollout_of_the_interceptor",
    says: "During a rollout of the interceptor no request fails, neither those in progress nor those held",
    alone: true,
    run: |space| Box::pin(async move { Box::pin(rollout(&space, INTERCEPTOR, STARTUP)).await }),
};

/// The old pod is asked to stop when the new one is ready, after some seconds, and then has 30 for what it holds.
const STARTUP: Duration = Duration::from_secs(20);
