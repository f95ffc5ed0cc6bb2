//! An app that crashes whenever it is started.

use anyhow::Result;
use keda_http_e2e::story::{Findings, Space, Story};

use super::CHAPTER;
use super::broken_app::{BROKEN, answered_after_fix, gives_up};

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "app_crashes",
    says: "Requests for an app that crashes get 504 at the readiness timeout; once the app is fixed, held requests are answered",
    alone: false,
    run: |space| Box::pin(run(space)),
};

async fn run(space: Space) -> Result<Findings> {
    // The server says what is wrong with its port, and ends.
    let app = space.app(BROKEN, 0, &[("PORT", "http")]).await?;
    let refused = gives_up(&space, &app).await?;
    let answered = Box::pin(answered_after_fix(&space, app.set_env(&[("PORT", Some("8080"))]))).await?;
    Ok(Findings::new(refused).and(answered))
}
