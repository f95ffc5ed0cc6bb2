//! All scalers are killed at once.

use keda_http_e2e::story::Story;
use keda_http_e2e::story::cluster::SCALER;

use super::CHAPTER;
use super::kill::kill_unnoticed;

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "kill_of_the_scaler",
    says: "When all scalers are killed at once, no request fails and held requests are answered",
    alone: true,
    run: |space| Box::pin(async move { Box::pin(kill_unnoticed(&space, SCALER)).await }),
};
