//! SIGKILL of each program, as when memory is short: no chance to say goodbye.
//!
//! What only the killed process knew is lost: the requests that it had. Everything else goes on.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
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

pub const ONE_INTERCEPTOR_STORY: Story = Story {
    chapter: CHAPTER,
    name: "kill_of_one_interceptor",
    says: "When one of two interceptors is killed, the requests that it had break; those of the other one go on, and all that come later",
    alone: true,
    tell: |space| Box::pin(one_interceptor(space)),
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
    Ok(Told::that(format!("load: {load}"))
        .and(format!("the {HELD} held requests broke"))
        .noticed(format!(
            "the {HELD} requests that the interceptor held broke off: a process that is killed takes its connections with it"
        ))
        .noticed(format!(
            "{} of {} requests of the load failed, all within {:.1} s: it was the only interceptor, and until the kubelet has started \
             its container again nobody listens",
            load.failures(),
            load.failures() + load.answered,
            load.failing().as_secs_f64()
        )))
}

async fn one_interceptor(space: Space) -> Result<Told> {
    let interceptor = space.cluster.system(INTERCEPTOR);
    space.cluster.pause_interceptor(Some("2")).await?;
    let told = async {
        interceptor.scaled(PATIENCE, |replicas| replicas == 2).await?;
        interceptor.rolled_out().await?;
        one_of_two(&space).await
    };
    let told = told.await;
    space.cluster.one_interceptor().await?;
    told
}

async fn one_of_two(space: &Space) -> Result<Told> {
    let node = node(space)?;
    let traffic = Traffic::start(space).await?;
    let pods = space.cluster.system(INTERCEPTOR).pods().await?;
    let pod = pods.first().context("an interceptor")?;
    let lost = space.pending_at(pod, "slow").await?;
    node.kill(pod).await?;
    let (load, held) = traffic.end().await?;
    ensure!(
        held.failures() == lost,
        "{lost} of the held requests were at the one that was killed: {held}"
    );
    ensure!(
        load.failing() <= BROKEN,
        "requests failed for {:?}: {load}",
        load.failing()
    );
    let told = Told::that(format!("load: {load}"))
        .and(format!("{} held requests were answered, {lost} broke", held.answered))
        .noticed(format!(
            "the {lost} of {HELD} held requests broke off that the killed one had; the other interceptor's were answered"
        ));
    Ok(match load.failures() {
        0 => told,
        failed => told.noticed(format!(
            "{failed} of {} requests of the load failed, all within {:.1} s: those under way there, and connections that kube-proxy \
             gave it until the kubelet had seen its end",
            failed + load.answered,
            load.failing().as_secs_f64()
        )),
    })
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
