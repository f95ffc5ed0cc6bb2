//! KEDA's pause annotation: a paused app is not woken, its requests are held; they are answered when the pause is over.

use std::time::Duration;

use anyhow::Result;
use keda_http_e2e::story::caller::burst;
use keda_http_e2e::story::space::PATIENCE;
use keda_http_e2e::story::{Findings, Space, Story};

use super::CHAPTER;

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "pause",
    says: "A paused ScaledObject does not wake; requests held during the pause are answered after it",
    alone: false,
    run: |space| Box::pin(run(space)),
};

const HELD: u64 = 10;
/// A wake that is not paused takes a second.
const PAUSED: Duration = Duration::from_secs(10);

async fn run(space: Space) -> Result<Findings> {
    let api = space.app("api", 0, &[]).await?;
    space.route("api", "").await?;
    space.scaled("api", 1).await?;
    api.asleep(PATIENCE).await?;
    space
        .annotate("api", "autoscaling.keda.sh/paused", Some("true"))
        .await?;
    space
        .condition("keda.sh/v1alpha1", "ScaledObject", "api", "Paused", "True")
        .await?;
    let held = burst(HELD as usize, &space.cluster.interceptor().await?, &space.host("api"))?;
    space.held("api", HELD).await?;
    api.stays(PAUSED, 0).await?;
    space.annotate("api", "autoscaling.keda.sh/paused", None).await?;
    let tally = held.await?;
    tally.expect_all(PAUSED + PATIENCE)?;
    Ok(Findings::new(format!(
        "held for {} s of pause: {tally}",
        PAUSED.as_secs()
    )))
}
