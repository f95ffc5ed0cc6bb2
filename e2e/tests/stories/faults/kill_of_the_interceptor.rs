//! Every interceptor is killed: until the kubelet has started the container again, nobody listens.

use std::time::Duration;

use anyhow::{Result, ensure};
use keda_http_e2e::story::cluster::INTERCEPTOR;
use keda_http_e2e::story::space::{PATIENCE, WARM};
use keda_http_e2e::story::{Findings, Space, Story};
use keda_http_e2e::wait;

use super::CHAPTER;
use super::traffic::{HELD, STARTUP, Traffic, node};

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "kill_of_the_interceptor",
    says: "When every interceptor is killed, the requests in progress break off; new ones are answered once the container runs again",
    alone: true,
    run: |space| Box::pin(run(space)),
};

/// For how long requests may fail: until the kubelet has started the container again.
const BROKEN: Duration = Duration::from_secs(15);

async fn run(space: Space) -> Result<Findings> {
    let node = node(&space)?;
    let traffic = Traffic::start(&space, STARTUP).await?;
    for pod in space.cluster.system(INTERCEPTOR).pods().await? {
        node.kill(&pod).await?;
    }
    wait::until("the next request is not answered", PATIENCE, async || {
        let answer = space.get("slow", "/").await.ok()?;
        (answer.status == 200).then_some(())
    })
    .await?;
    let (load, held) = traffic.end_when_whole(&space).await?;
    ensure!(held.failures() == HELD, "what it held is lost: {held}");
    ensure!(
        load.failing() <= BROKEN && load.slowest <= WARM,
        "requests failed for {:?}: {load}",
        load.failing()
    );
    Ok(Findings::new(format!("load: {load}"))
        .and(format!("the {HELD} held requests broke"))
        .client_effect(format!(
            "the {HELD} requests that the interceptor held broke off: a process that is killed takes its connections with it"
        ))
        .client_effect(format!(
            "{} of {} requests of the load failed, all within {:.1} s: it was the only interceptor, and until the kubelet has started \
             its container again nobody listens",
            load.failures(),
            load.sent,
            load.failing().as_secs_f64()
        )))
}
