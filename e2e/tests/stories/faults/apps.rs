//! Apps that do not come up: one that crashes, one that never gets ready, one whose image is not there. Their requests get a
//! clear answer in time; those of others are not touched, and once the app is mended what is held is answered.

use std::time::Duration;

use anyhow::{Result, ensure};
use keda_http_e2e::story::caller::herd;
use keda_http_e2e::story::cluster::Workload;
use keda_http_e2e::story::space::PATIENCE;
use keda_http_e2e::story::{Space, Story, Told};
use serde_json::json;

use super::CHAPTER;

pub const CRASHES: Story = Story {
    chapter: CHAPTER,
    name: "app_crashes",
    says: "Requests for an app that crashes end in 504 at the readiness timeout; once it is mended, those held are answered",
    alone: false,
    tell: |space| Box::pin(crashes(space)),
};

pub const NEVER_READY: Story = Story {
    chapter: CHAPTER,
    name: "app_never_ready",
    says: "Requests for an app that never gets ready end in 504; another app beside it answers all the while",
    alone: false,
    tell: |space| Box::pin(never_ready(space)),
};

pub const MISSING_IMAGE: Story = Story {
    chapter: CHAPTER,
    name: "app_without_image",
    says: "Requests for an app whose image is missing end in 504; with the right image, those held are answered",
    alone: false,
    tell: |space| Box::pin(missing_image(space)),
};

/// Requests that are held when the app is mended.
const HELD: u64 = 10;

async fn crashes(space: Space) -> Result<Told> {
    // The server says what is wrong with its port, and ends.
    let app = space.app("broken", 0, &[("PORT", "http")]).await?;
    let refused = gives_up(&space, &app).await?;
    let answered = Box::pin(mended(&space, app.set_env(&[("PORT", Some("8080"))]))).await?;
    Ok(Told::that(refused).and(answered))
}

async fn never_ready(space: Space) -> Result<Told> {
    let app = space.app("broken", 0, &[("STARTUP_DELAY", "3600")]).await?;
    space.app("other", 1, &[]).await?;
    space.route("other", "").await?;
    let load =
        keda_http_e2e::story::caller::Load::start(10, &space.cluster.interceptor().await?, &space.host("other"))?;
    let refused = gives_up(&space, &app).await?;
    let tally = load.stop().await?;
    tally.expect_all()?;
    Ok(Told::that(refused).and(format!("the other app meanwhile: {tally}")))
}

async fn missing_image(space: Space) -> Result<Told> {
    let app = space.app("broken", 0, &[]).await?;
    let container = |image: &str| json!([{"name": "server", "image": image}]);
    app.set_containers(&container("localhost/nothing-of-this-name:dev"))
        .await?;
    let refused = gives_up(&space, &app).await?;
    let image = space.cluster.image("otel-tracing-server");
    let answered = Box::pin(mended(&space, app.set_containers(&container(&image)))).await?;
    Ok(Told::that(refused).and(answered))
}

/// With a readiness timeout of three seconds.
async fn gives_up(space: &Space, app: &Workload) -> Result<String> {
    space.route("broken", "  timeouts: {readiness: 3s}\n").await?;
    space.scaled("broken", 1).await?;
    app.asleep(PATIENCE).await?;
    let answer = space.get("broken", "/").await?.expect(504)?;
    ensure!(
        answer.took >= Duration::from_secs(3) && answer.took < Duration::from_secs(5),
        "{answer:?}"
    );
    Ok(format!(
        "504 after {:.1} s, {:?}",
        answer.took.as_secs_f64(),
        answer.body.trim()
    ))
}

/// With a readiness timeout that is long enough for the mending.
async fn mended(space: &Space, mend: impl Future<Output = Result<()>>) -> Result<String> {
    space.route("broken", "  timeouts: {readiness: 2m}\n").await?;
    let held = herd(
        HELD as usize,
        &space.cluster.interceptor().await?,
        &space.host("broken"),
    )?;
    space.held("broken", HELD).await?;
    mend.await?;
    let tally = held.await?;
    tally.expect_all()?;
    Ok(format!("mended: {tally}"))
}
