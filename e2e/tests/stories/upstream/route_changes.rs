//! A route that is pointed at another Service sends the next request there; one that is deleted is gone, and no other with it.

use std::time::Duration;

use anyhow::{Result, ensure};
use keda_http_e2e::story::{Findings, Space, Story};
use keda_http_e2e::wait;
use tokio::time::Instant;

use super::CHAPTER;

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "route_changes",
    says: "An updated route takes effect at once; a deleted one gives 404, and other routes are not affected",
    alone: false,
    run: |space| Box::pin(run(space)),
};

/// Upstream needs up to two seconds.
const SOON: Duration = Duration::from_secs(2);

async fn run(space: Space) -> Result<Findings> {
    space.app("a", 1, &[]).await?;
    space.app("b", 1, &[]).await?;
    space.route("a", "").await?;
    space.route("b", "").await?;
    ensure!(
        space.get("a", "/").await?.expect(200)?.pod().starts_with("a-"),
        "a answers first"
    );

    let changed = Instant::now();
    space.route_to("a", "b", "").await?;
    wait::until_measured("the change is not live", SOON, async || {
        let answer = space.get("a", "/").await.ok()?;
        answer.pod().starts_with("b-").then_some(())
    })
    .await?;
    let changed = changed.elapsed();

    let deleted = Instant::now();
    space.remove("http.keda.sh/v1beta1", "InterceptorRoute", "a").await?;
    wait::until_measured("the route is not gone", SOON, async || {
        let answer = space.get("a", "/").await.ok()?;
        (answer.status == 404).then_some(())
    })
    .await?;
    let deleted = deleted.elapsed();
    space.get("b", "/").await?.expect(200)?;
    Ok(Findings::new(format!(
        "live {} ms after the write, gone {} ms after the deletion, both with the call to the API server",
        changed.as_millis(),
        deleted.as_millis()
    )))
}
