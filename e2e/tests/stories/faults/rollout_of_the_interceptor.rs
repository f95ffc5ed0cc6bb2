//! `kubectl rollout restart` of the interceptor: the old pod has its requests answered before it ends.

use std::time::Duration;

use keda_http_e2e::story::Story;
use keda_http_e2e::story::cluster::INTERCEPTOR;

use super::CHAPTER;
use super::rollout::rollout;

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "rollout_of_the_interceptor",
    says: "A rollout of the interceptor fails no request, neither those under way nor those held",
    alone: true,
    tell: |space| Box::pin(async move { Box::pin(rollout(&space, INTERCEPTOR, STARTUP)).await }),
};

/// The old pod is told to end when the new one is ready, after some seconds, and then has 30 for what it holds.
const STARTUP: Duration = Duration::from_secs(20);
