//! No scaler at all for half a minute: KEDA leaves the replicas as they are, requests go on, and scaling comes back with it.
//!
//! KEDA's `fallback` does not help then: KEDA 2.21 makes an external scaler that cannot be reached anew, asks it for its
//! metrics, gets none, and has nothing to fall back with ("got empty metric spec").

use std::time::Duration;

use anyhow::Result;
use keda_http_e2e::story::caller::Load;
use keda_http_e2e::story::cluster::{SCALER, then_put_back};
use keda_http_e2e::story::space::{AUTOSCALER, PATIENCE, WAKE};
use keda_http_e2e::story::{Findings, Space, Story};

use super::CHAPTER;

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "no_scaler",
    says: "Without any scaler the replicas do not change and requests succeed; scaling resumes with it",
    alone: true,
    run: |space| Box::pin(run(space)),
};

const AWAY: Duration = Duration::from_secs(30);

async fn run(space: Space) -> Result<Findings> {
    let api = space.app("api", 0, &[]).await?;
    space
        .route(
            "api",
            "  scalingMetric: {requestRate: {targetValue: 5, window: 10s, granularity: 1s}}\n",
        )
        .await?;
    space.scaled("api", 5).await?;
    let load = Load::start(10, &space.cluster.interceptor().await?, &space.host("api"))?;
    api.scaled(AUTOSCALER, |replicas| replicas == 2).await?;
    let scaler = space.cluster.system(SCALER);
    let replicas = scaler.replicas().await?;
    let away = async {
        scaler.scale(0).await?;
        scaler.asleep(PATIENCE).await?;
        api.stays(AWAY, 2).await
    };
    let put_back = async {
        scaler.scale(replicas).await?;
        scaler.rolled_out().await
    };
    then_put_back(away, put_back).await?;
    let tally = load.stop().await?;
    // The first requests wake the app.
    tally.expect_all(WAKE)?;
    api.asleep(PATIENCE).await?;
    Ok(Findings::new(format!(
        "2 replicas for {} s without a scaler, then 0; {tally}",
        AWAY.as_secs()
    )))
}
