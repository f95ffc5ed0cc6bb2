//! KEDA's operator is killed.

use keda_http_e2e::story::Story;
use keda_http_e2e::story::cluster::KEDA_OPERATOR;

use super::CHAPTER;
use super::kill::kill_unnoticed;

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "kill_of_keda",
    says: "When KEDA's operator is killed, no request fails and held requests are answered",
    alone: true,
    run: |space| Box::pin(async move { Box::pin(kill_unnoticed(&space, KEDA_OPERATOR)).await }),
};
