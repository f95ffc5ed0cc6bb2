//! Prometheus finds the requests of a route at the interceptor's metrics port.

use anyhow::{Result, ensure};
use keda_http_e2e::story::cluster::{INTERCEPTOR, prometheus};
use keda_http_e2e::story::{Findings, Space, Story};

use super::CHAPTER;

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "metrics",
    says: "The interceptor's Prometheus endpoint has count and duration of the requests of a route",
    alone: false,
    run: |space| Box::pin(run(space)),
};

const REQUESTS: u64 = 7;

async fn run(space: Space) -> Result<Findings> {
    space.app("api", 1, &[]).await?;
    space.route("api", "").await?;
    for _ in 0..REQUESTS {
        space.get("api", "/").await?.expect(200)?;
    }
    let (mut counted, mut timed) = (0, 0);
    for pod in space.cluster.system(INTERCEPTOR).pods().await? {
        let text = prometheus::scrape(&pod).await?;
        counted += prometheus::sum(&text, "interceptor_request_count_total", &space.name);
        timed += prometheus::sum(&text, "interceptor_request_duration_seconds_count", &space.name);
    }
    ensure!(
        counted == REQUESTS && timed == REQUESTS,
        "{counted} counted, {timed} timed, of {REQUESTS}"
    );
    Ok(Findings::new(format!("{REQUESTS} of {REQUESTS} counted and timed")))
}
