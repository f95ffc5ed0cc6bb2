//! Tracing is switched on with `kubectl set env` while requests are held: the rollout loses none of them.

use std::time::Duration;

use anyhow::{Result, ensure};
use keda_http_e2e::story::caller::burst;
use keda_http_e2e::story::cluster::INTERCEPTOR;
use keda_http_e2e::story::space::{PATIENCE, WAKE};
use keda_http_e2e::story::{Findings, Space, Story};

use super::{CHAPTER, tracing};

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "toggled",
    says: "Tracing is switched on and off while requests are held for an app that takes 12 s to start; none fails",
    alone: true,
    run: |space| Box::pin(run(space)),
};

const HELD: u64 = 40;
/// How long the app takes to start.
const STARTUP: Duration = Duration::from_secs(12);

async fn run(space: Space) -> Result<Findings> {
    let interceptor = space.cluster.system(INTERCEPTOR);
    let startup = STARTUP.as_secs().to_string();
    let app = space.app("slow", 0, &[("STARTUP_DELAY", &startup)]).await?;
    space.route("slow", "").await?;
    space.scaled("slow", 1).await?;
    let url = space.cluster.interceptor().await?;
    let mut findings = Findings::default();
    // The spans go nowhere: that must disturb nobody.
    for (what, endpoint) in [("on", Some("http://nobody.invalid:4317")), ("off", None)] {
        app.asleep(PATIENCE).await?;
        let before = interceptor.pod_names().await?;
        let requests = burst(HELD as usize, &url, &space.host("slow"))?;
        space.held("slow", HELD).await?;
        interceptor.set_env(&tracing(endpoint)).await?;
        interceptor.replaced(&before).await?;
        ensure!(
            !requests.is_finished(),
            "the requests had ended before their interceptor was asked to stop, which proves nothing"
        );
        let tally = requests.await?;
        interceptor.rolled_out().await?;
        tally.expect_all(STARTUP + WAKE)?;
        findings = findings.and(format!("switched {what}: {tally}"));
    }
    Ok(findings)
}
