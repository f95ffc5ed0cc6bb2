//! An app that crashes whenever it is started.

use anyhow::Result;
use keda_http_e2e::story::{Space, Story, Told};

use super::CHAPTER;
use super::broken_app::{BROKEN, gives_up, mended};

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "app_crashes",
    says: "Requests for an app that crashes end in 504 at the readiness timeout; once it is mended, those held are answered",
    alone: false,
    tell: |space| Box::pin(tell(space)),
};

async fn tell(space: Space) -> Result<Told> {
    // The server says what is wrong with its port, and ends.
    let app = space.app(BROKEN, 0, &[("PORT", "http")]).await?;
    let refused = gives_up(&space, &app).await?;
    let answered = Box::pin(mended(&space, app.set_env(&[("PORT", Some("8080"))]))).await?;
    Ok(Told::that(refused).and(answered))
}
