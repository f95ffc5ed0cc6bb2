//! The interceptor is rolled out anew while a request of ten seconds is under way: its pod is asked to stop, and only then the
//! request ends, as if nothing had happened.

use std::time::Duration;

use anyhow::{Result, ensure};
use keda_http_e2e::story::cluster::INTERCEPTOR;
use keda_http_e2e::story::{Findings, Space, Story};

use super::CHAPTER;

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "graceful_shutdown",
    says: "A request of ten seconds outlives a rollout of the interceptor",
    alone: true,
    run: |space| Box::pin(run(space)),
};

async fn run(space: Space) -> Result<Findings> {
    space.app("slow", 1, &[("RESPONSE_DELAY", "10")]).await?;
    space.route("slow", "").await?;
    let interceptor = space.cluster.system(INTERCEPTOR);
    let before = interceptor.pod_names().await?;
    let other = space.clone();
    let under_way = tokio::spawn(async move { other.get("slow", "/").await });
    space.held("slow", 1).await?;
    interceptor.restart().await?;
    interceptor.replaced(&before).await?;
    ensure!(
        !under_way.is_finished(),
        "the request had ended before its interceptor was asked to stop, which proves nothing"
    );
    let answer = under_way.await??.expect(200)?;
    interceptor.rolled_out().await?;
    ensure!(answer.took >= Duration::from_secs(10), "{answer:?}");
    space.get("slow", "/").await?.expect(200)?;
    Ok(Findings::new(format!(
        "200 after {:.1} s, by a pod that had been asked to stop before",
        answer.took.as_secs_f64()
    )))
}
