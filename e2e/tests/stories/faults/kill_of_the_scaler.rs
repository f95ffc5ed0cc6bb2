//! All scalers are killed at once.

use keda_http_e2e::story::Story;
use keda_http_e2e::story::cluster::SCALER;

use super::CHAPTER;
use super::kill::nobody_can_tell;

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "kill_of_the_scaler",
    says: "When all scalers are killed at once, no request fails; those held are answered",
    alone: true,
    tell: |space| Box::pin(async move { Box::pin(nobody_can_tell(&space, SCALER)).await }),
};
