//! KEDA's operator is killed.

use keda_http_e2e::story::Story;
use keda_http_e2e::story::cluster::KEDA_OPERATOR;

use super::CHAPTER;
use super::kill::nobody_can_tell;

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "kill_of_keda",
    says: "When KEDA's operator is killed, no request fails; those held are answered",
    alone: true,
    tell: |space| Box::pin(async move { Box::pin(nobody_can_tell(&space, KEDA_OPERATOR)).await }),
};
