//! An app whose image is not there.

use anyhow::Result;
use keda_http_e2e::story::{Space, Story, Told};
use serde_json::json;

use super::CHAPTER;
use super::broken_app::{BROKEN, gives_up, mended};

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "app_without_image",
    says: "Requests for an app whose image is missing end in 504; with the right image, those held are answered",
    alone: false,
    tell: |space| Box::pin(tell(space)),
};

async fn tell(space: Space) -> Result<Told> {
    let app = space.app(BROKEN, 0, &[]).await?;
    let container = |image: &str| json!([{"name": "server", "image": image}]);
    app.set_containers(&container("localhost/nothing-of-this-name:dev"))
        .await?;
    let refused = gives_up(&space, &app).await?;
    let image = space.cluster.image("otel-tracing-server");
    let answered = Box::pin(mended(&space, app.set_containers(&container(&image)))).await?;
    Ok(Told::that(refused).and(answered))
}
