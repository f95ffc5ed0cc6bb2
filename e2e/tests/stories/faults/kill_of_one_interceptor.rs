//! One of two interceptors is killed: what it had is lost, the other one's requests are not.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use keda_http_e2e::story::caller::Tally;
use keda_http_e2e::story::cluster::{INTERCEPTOR, then_put_back};
use keda_http_e2e::story::node::Node;
use keda_http_e2e::story::space::{PATIENCE, WARM};
use keda_http_e2e::story::{Findings, Space, Story};

use super::CHAPTER;
use super::traffic::{HELD, STARTUP, Traffic, node};

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "kill_of_one_interceptor",
    says: "When one of two interceptors is killed, its requests break off; those of the other one and all later ones succeed",
    alone: true,
    run: |space| Box::pin(run(space)),
};

/// For how long requests may fail: until kube-proxy gives it no connection.
const BROKEN: Duration = Duration::from_secs(15);

async fn run(space: Space) -> Result<Findings> {
    let node = node(&space)?;
    then_put_back(
        Box::pin(one_of_two(&space, &node)),
        Box::pin(space.cluster.one_interceptor()),
    )
    .await
}

async fn one_of_two(space: &Space, node: &Node) -> Result<Findings> {
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
    let findings = Findings::new(format!("load: {load}"))
        .and(format!("{} held requests were answered, {lost} broke", held.answered))
        .client_effect(match lost {
            0 => format!("None of {HELD} held requests broke off: the killed interceptor held none of them"),
            _ => format!(
                "{lost} of {HELD} held requests broke off: the killed interceptor held them. Those of the other interceptor \
                 were answered"
            ),
        });
    Ok(with_failures(findings, &load))
}

/// Every run says what may happen, also one in which nothing did: whether it does depends on kube-proxy's timing.
fn with_failures(findings: Findings, load: &Tally) -> Findings {
    let failed = match load.failures() {
        0 => format!("None of {} requests of the load failed", load.sent),
        failures => format!(
            "{failures} of {} requests of the load failed within {:.1} s",
            load.sent,
            load.failing().as_secs_f64()
        ),
    };
    findings.client_effect(format!(
        "{failed}. Some may fail in any run: those that the killed interceptor was answering, and new connections that \
         kube-proxy sends to it until the kubelet has noticed its end"
    ))
}
