//! An app at zero: the first request is held until the first pod is ready, and answered by it. So is a POST with a body.
//! Afterwards the app goes back to zero.

use anyhow::{Result, ensure};
use keda_http_e2e::story::caller::{self, client};
use keda_http_e2e::story::space::PATIENCE;
use keda_http_e2e::story::{Findings, Space, Story};

use super::CHAPTER;

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "cold_start",
    says: "A request to an app at zero is held until its first pod answers; then the app scales back to zero",
    alone: false,
    run: |space| Box::pin(run(space)),
};

async fn run(space: Space) -> Result<Findings> {
    let api = space.app("api", 0, &[]).await?;
    space.route("api", "").await?;
    space.scaled("api", 1).await?;
    api.asleep(PATIENCE).await?;

    let first = space.get("api", "/").await?.expect(200)?;
    ensure!(first.header("x-keda-http-cold-start") == Some("true"), "{first:?}");
    ensure!(api.replicas().await? == 1, "one replica answers");

    let url = space.cluster.interceptor().await?;
    let post = client()?.post(url).header("host", space.host("api"));
    let body = post
        .header("content-type", "application/json")
        .body(r#"{"some": "thing"}"#);
    let second = caller::send(body).await?.expect(200)?;
    ensure!(second.header("x-keda-http-cold-start") != Some("true"), "{second:?}");

    api.asleep(PATIENCE).await?;
    Ok(Findings::new(format!(
        "first answer after {:.2} s, a warm POST after {:.0} ms",
        first.took.as_secs_f64(),
        second.took.as_secs_f64() * 1000.0
    )))
}
