//! Every interceptor is killed: until the kubelet has started the container again, nobody listens.

use std::time::Duration;

use anyhow::{Result, ensure};
use keda_http_e2e::story::cluster::INTERCEPTOR;
use keda_http_e2e::story::space::{PATIENCE, WARM};
use keda_http_e2e::story::{Space, Story, Told};
use keda_http_e2e::wait;

use super::CHAPTER;
use super::traffic::{HELD, STARTUP, Traffic, node};

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "kill_of_the_interceptor",
    says: "When every interceptor is killed, its requests break; the next ones are answered as soon as its container is back, and the app wakes",
    alone: true,
    tell: |space| Box::pin(tell(space)),
};

/// For how long requests may fail: until the kubelet has started the container again.
const BROKEN: Duration = Duration::from_secs(15);

async fn tell(space: Space) -> Result<Told> {
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
    Ok(Told::that(format!("load: {load}"))
        .and(format!("the {HELD} held requests broke"))
        .noticed(format!(
            "the {HELD} requests that the interceptor held broke off: a process that is killed takes its connections with it"
        ))
        .noticed(format!(
            "{} of {} requests of the load failed, all within {:.1} s: it was the only interceptor, and until the kubelet has started \
             its container again nobody listens",
            load.failures(),
            load.sent,
            load.failing().as_secs_f64()
        )))
}
