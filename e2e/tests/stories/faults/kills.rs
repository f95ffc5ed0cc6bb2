//! SIGKILL of each program, as when memory is short: no chance to say goodbye.
//!
//! What only the killed process knew is lost: the requests that it had. Everything else goes on.

use std::time::Duration;

use anyhow::{Result, ensure};
use keda_http_e2e::story::cluster::{INTERCEPTOR, KEDA_OPERATOR, SCALER};
use keda_http_e2e::story::space::PATIENCE;
use keda_http_e2e::story::{Space, Story, Told};
use keda_http_e2e::wait;

use super::{CHAPTER, HELD, Traffic, node};

pub const INTERCEPTOR_STORY: Story = Story {
    chapter: CHAPTER,
    name: "kill_of_the_interceptor",
    says: "When every interceptor is killed, its requests break; the next ones are answered as soon as its container is back, and the app wakes",
    alone: true,
    tell: |space| Box::pin(interceptor(space)),
};

pub const SCALER_STORY: Story = Story {
    chapter: CHAPTER,
    name: "kill_of_the_scaler",
    says: "When all scalers are killed at once, no request fails; those held are answered",
    alone: true,
    tell: |space| Box::pin(nobody_can_tell(space, SCALER)),
};

pub const KEDA_STORY: Story = Story {
    chapter: CHAPTER,
    name: "kill_of_keda",
    says: "When KEDA's operator is killed, no request fails; those held are answered",
    alone: true,
    tell: |space| Box::pin(nobody_can_tell(space, KEDA_OPERATOR)),
};

/// For how long requests may fail: until the kubelet has started the container again.
const BROKEN: Duration = Duration::from_secs(15);

async fn interceptor(space: Space) -> Result<Told> {
    let node = node(&space)?;
    let traffic = Traffic::start(&space).await?;
    for pod in space.cluster.system(INTERCEPTOR).pods().await? {
        node.kill(&pod).await?;
    }
    wait::until("the next request is not answered", PATIENCE, async || {
        let answer = space.get("slow", "/").await.ok()?;
        (answer.status == 200).then_some(())
    })
    .await?;
    space.cluster.whole().await?;
    let (load, held) = traffic.end().await?;
    ensure!(held.failures() == HELD, "what it held is lost: {held}");
    ensure!(
        load.failing() <= BROKEN,
        "requests failed for {:?}: {load}",
        load.failing()
    );
    Ok(
        Told::that(format!("all {HELD} held requests broke, their clients could tell")).and(format!(
            "load: {load}, all within {:.1} s",
            load.failing().as_secs_f64()
        )),
    )
}

async fn nobody_can_tell(space: Space, name: &'static str) -> Result<Told> {
    let node = node(&space)?;
    let traffic = Traffic::start(&space).await?;
    for pod in space.cluster.system(name).pods().await? {
        node.kill(&pod).await?;
    }
    space.cluster.whole().await?;
    let (load, held) = traffic.end().await?;
    load.expect_all()?;
    held.expect_all()?;
    // What was held had been told to KEDA already; this one was not.
    space.workload("slow").asleep(PATIENCE).await?;
    let next = space.get("slow", "/").await?.expect(200)?;
    Ok(Told::that(format!("load: {load}"))
        .and(format!("held: {held}"))
        .and(format!(
            "the next wake took {:.1} s, 8 s of them the app's own",
            next.took.as_secs_f64()
        )))
}
