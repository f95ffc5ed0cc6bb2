//! The horizontal pod autoscaler follows the request rate, from one replica to five and back.

use anyhow::Result;
use keda_http_e2e::story::caller::Load;
use keda_http_e2e::story::space::{AUTOSCALER, WARM};
use keda_http_e2e::story::{Findings, Space, Story};
use tokio::time::Instant;

use super::CHAPTER;

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "autoscaler",
    says: "By request rate, the autoscaler goes from 1 replica to 5 under load, and back to 1 afterwards",
    alone: false,
    run: |space| Box::pin(run(space)),
};

async fn run(space: Space) -> Result<Findings> {
    let api = space.app("api", 1, &[]).await?;
    let more = [("targetValue", "5"), ("window", "10s")];
    let front = space.autowired_from("api", 1, 5, &more).await?;
    let started = Instant::now();
    let load = Load::start(25, &front, &space.host("api"))?;
    api.scaled(AUTOSCALER, |replicas| replicas == 5).await?;
    let up = started.elapsed();
    let tally = load.stop().await?;
    tally.expect_all(WARM)?;
    let ended = Instant::now();
    api.scaled(AUTOSCALER, |replicas| replicas == 1).await?;
    Ok(Findings::new(format!(
        "5 replicas after {} s, 1 again after {} s",
        up.as_secs(),
        ended.elapsed().as_secs()
    ))
    .and(tally.to_string()))
}
