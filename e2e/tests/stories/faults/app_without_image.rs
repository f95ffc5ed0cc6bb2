//! An app whose image is not there.

use anyhow::Result;
use keda_http_e2e::story::{Findings, Space, Story};
use serde_json::json;

use super::CHAPTER;
use super::broken_app::{BROKEN, answered_after_fix, gives_up};

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "app_without_image",
    says: "Requests for an app whose image is missing get 504; with the right image, held requests are answered",
    alone: false,
    run: |space| Box::pin(run(space)),
};

async fn run(space: Space) -> Result<Findings> {
    let app = space.app(BROKEN, 0, &[]).await?;
    let container = |image: &str| json!([{"name": "server", "image": image}]);
    app.set_containers(&container("localhost/nothing-of-this-name:dev"))
        .await?;
    let refused = gives_up(&space, &app).await?;
    let image = space.cluster.image("otel-tracing-server");
    let answered = Box::pin(answered_after_fix(&space, app.set_containers(&container(&image)))).await?;
    Ok(Findings::new(refused).and(answered))
}
