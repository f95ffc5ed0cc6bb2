//! One of two interceptors is killed: what it had is lost, the other one's requests are not.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use keda_http_e2e::story::caller::Tally;
use keda_http_e2e::story::cluster::{INTERCEPTOR, then_put_back};
use keda_http_e2e::story::node::Node;
use keda_http_e2e::story::space::{PATIENCE, WARM};
use keda_http_e2e::story::{Space, Story, Told};

use super::CHAPTER;
use super::traffic::{HELD, STARTUP, Traffic, node};

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "kill_of_one_interceptor",
    says: "When one of two interceptors is killed, the requests that it had break; those of the other one go on, and all that come later",
    alone: true,
    tell: |space| Box::pin(tell(space)),
};

/// For how long requests may fail: until kube-proxy gives it no connection.
const BROKEN: Duration = Duration::from_secs(15);

async fn tell(space: Space) -> Result<Told> {
    let node = node(&space)?;
    then_put_back(
        Box::pin(one_of_two(&space, &node)),
        Box::pin(space.cluster.one_interceptor()),
    )
    .await
}

async fn one_of_two(space: &Space, node: &Node) -> Result<Told> {
    let interceptor = space.cluster.system(INTERCEPTOR);
    space.cluster.pause_interceptor(Some("2")).await?;
    interceptor.scaled(PATIENCE, |replicas| replicas == 2).await?;
    interceptor.rolled_out().await?;
    let traffic = Traffic::start(space, STARTUP).await?;
    let pods = interceptor.pods().await?;
    let pod = pods.first().context("an interceptor")?;
    let lost = space.pending_at(pod, "slow").await?;
    node.kill(pod).await?;
    let (load, held) = traffic.end().await?;
    ensure!(
        held.failures() == lost,
        "{lost} of the held requests were at the one that was killed: {held}"
    );
    ensure!(
        load.failing() <= BROKEN && load.slowest <= WARM,
        "requests failed for {:?}: {load}",
        load.failing()
    );
    let told = Told::that(format!("load: {load}"))
        .and(format!("{} held requests were answered, {lost} broke", held.answered))
        .noticed(format!(
            "the {lost} of {HELD} held requests broke off that the killed one had; the other interceptor's were answered"
        ));
    Ok(with_failures(told, &load))
}

fn with_failures(told: Told, load: &Tally) -> Told {
    match load.failures() {
        0 => told,
        failed => told.noticed(format!(
            "{failed} of {} requests of the load failed, all within {:.1} s: those under way there, and connections that kube-proxy \
             gave it until the kubelet had seen its end",
            load.sent,
            load.failing().as_secs_f64()
        )),
    }
}
