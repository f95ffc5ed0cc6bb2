//! Prometheus finds the requests of a route at the interceptor's metrics port.

use anyhow::{Result, ensure};
use keda_http_e2e::story::caller;
use keda_http_e2e::story::cluster::INTERCEPTOR;
use keda_http_e2e::story::{Space, Story, Told};

use super::CHAPTER;

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "metrics",
    says: "Requests of a route are counted, and timed, at the interceptor's Prometheus endpoint",
    alone: false,
    tell: |space| Box::pin(tell(space)),
};

const REQUESTS: u64 = 7;

async fn tell(space: Space) -> Result<Told> {
    space.app("api", 1, &[]).await?;
    space.route("api", "").await?;
    for _ in 0..REQUESTS {
        space.get("api", "/").await?.expect(200)?;
    }
    let (mut counted, mut timed) = (0, 0);
    for pod in space.cluster.system(INTERCEPTOR).pods().await? {
        let address = pod.status.and_then(|status| status.pod_ip).unwrap_or_default();
        let text = caller::get(&format!("http://{address}:2223/metrics"), "interceptor")
            .await?
            .expect(200)?
            .body;
        counted += sum(&text, "interceptor_request_count_total", &space.name);
        timed += sum(&text, "interceptor_request_duration_seconds_count", &space.name);
    }
    ensure!(
        counted == REQUESTS && timed == REQUESTS,
        "{counted} counted, {timed} timed, of {REQUESTS}"
    );
    Ok(Told::that(format!("{REQUESTS} of {REQUESTS} counted and timed")))
}

/// The sum of the series of a metric that name the story's namespace.
fn sum(text: &str, metric: &str, namespace: &str) -> u64 {
    let label = format!("\"{namespace}\"");
    let series = text
        .lines()
        .filter(|line| line.starts_with(&format!("{metric}{{")) && line.contains(&label));
    series
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}
