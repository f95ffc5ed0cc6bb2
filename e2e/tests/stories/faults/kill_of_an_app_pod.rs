//! One of an app's two pods is killed under load: only requests that it had can fail.
//!
//! A request that the dead pod has read may have had its effect. The interceptor sends it again, on a new connection, when HTTP
//! allows that: the method is idempotent and there is no body. A connection that is refused has had no effect, and the other
//! pod gets the request.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use keda_http_e2e::story::caller::{Load, Tally};
use keda_http_e2e::story::cluster::Workload;
use keda_http_e2e::story::space::{PATIENCE, WARM};
use keda_http_e2e::story::{Findings, Space, Story};
use keda_http_e2e::wait;
use kube::ResourceExt;

use super::CHAPTER;
use super::traffic::{RATE, is_answered, node};

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "kill_of_an_app_pod",
    says: "When one of an app's two pods is killed, only requests that it had can fail; once it is back it gets requests again",
    alone: false,
    run: |space| Box::pin(run(space)),
};

/// Ten requests are under way at any time, about half of them at each pod.
const RESPONSE_DELAY: &str = "0.5";
/// Connections break at once when their process ends. A failure later than this is another one.
const AT_ONCE: Duration = Duration::from_secs(1);

async fn run(space: Space) -> Result<Findings> {
    let node = node(&space)?;
    let app = space.app("api", 2, &[("RESPONSE_DELAY", RESPONSE_DELAY)]).await?;
    space.route("api", "").await?;
    let load = Load::start(RATE, &space.cluster.interceptor().await?, &space.host("api"))?;
    is_answered(&load).await?;
    let pods = app.pods().await?;
    let pod = pods.first().context("a pod")?;
    let before = load.so_far();
    node.kill(pod).await?;
    // Those that were under way, and those that were sent before it was dead.
    let exposed = before.under_way() + load.so_far().sent - before.sent;
    is_back(&space, &app, pod).await?;
    let tally = load.stop().await?;
    broke_there(&tally, exposed)?;
    let findings =
        Findings::new(tally.to_string()).and(format!("{exposed} were in progress at both pods when one was killed"));
    Ok(match tally.failures() {
        0 => findings,
        failed => findings.client_effect(format!(
            "{failed} of {} requests got 502, all within {:.1} s: the killed pod had them, and may have done \
             what they ask for",
            tally.sent,
            tally.failing().as_secs_f64()
        )),
    })
}

/// Waits until its container was started again and it answers.
async fn is_back(space: &Space, app: &Workload, killed: &Pod) -> Result<()> {
    let name = killed.name_any();
    wait::until("the killed pod does not answer again", PATIENCE, async || {
        let pods = app.pods().await.ok()?;
        let pod = pods.iter().find(|pod| pod.name_any() == name)?;
        let containers = pod.status.as_ref()?.container_statuses.as_ref()?;
        let started_again = containers.iter().any(|container| container.restart_count > 0);
        let answer = space.get("api", "/").await.ok()?;
        (started_again && answer.pod() == name).then_some(())
    })
    .await
    .with_context(|| name.clone())
}

/// Fails unless all failures are of requests that the killed pod can have had.
fn broke_there(tally: &Tally, exposed: u64) -> Result<()> {
    let broken = |what: &String| what.starts_with("502") && what.contains("broke the connection");
    ensure!(
        tally.failed.keys().all(broken)
            && tally.failures() <= exposed
            && tally.failing() <= AT_ONCE
            && tally.slowest <= WARM,
        "at most {exposed} requests broken off within {AT_ONCE:?} expected, not within {:?}: {tally}",
        tally.failing()
    );
    Ok(())
}
