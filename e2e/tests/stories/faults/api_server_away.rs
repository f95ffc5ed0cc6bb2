//! The API server does not answer for a minute.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use keda_http_e2e::story::caller::Tally;
use keda_http_e2e::story::cluster::INTERCEPTOR;
use keda_http_e2e::story::node::API_SERVER;
use keda_http_e2e::story::space::{WAKE, WARM};
use keda_http_e2e::story::{Findings, Space, Story};
use kube::ResourceExt;
use kube::api::{Api, ListParams};

use super::CHAPTER;
use super::traffic::{RATE, STARTUP, Traffic, node};

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "api_server_away",
    says: "While the API server hangs for a minute, no request to an app that is up fails; held requests are answered afterwards",
    alone: true,
    run: |space| Box::pin(run(space)),
};

const AWAY: Duration = Duration::from_secs(60);

/// When the API server is back after a minute, Kubernetes' node lifecycle controller finds the node's heartbeat too old, and
/// marks the node and all its pods as not ready until the next heartbeat. kube-proxy refuses connections to any Service then,
/// with or without us; nothing else may fail. Who has a connection to the interceptor already is not refused: no pod is ready,
/// so the request is held until one is.
const HEARTBEAT: Duration = Duration::from_secs(15);

async fn run(space: Space) -> Result<Findings> {
    let node = node(&space)?;
    let traffic = Traffic::start(&space, STARTUP).await?;
    let before = State::now(&space).await?;
    let (away, answered) = (node.pause(API_SERVER)?, traffic.load.so_far().answered);
    // Only the clock knows when a minute is over.
    tokio::time::timeout(AWAY, std::future::pending::<()>()).await.ok();
    let meanwhile = traffic.load.so_far();
    drop(away);
    meanwhile.expect_all(WARM)?;
    let (answered, wanted) = (meanwhile.answered - answered, u64::from(RATE) * AWAY.as_secs() * 9 / 10);
    ensure!(answered >= wanted, "{answered} answers, not {wanted}: {meanwhile}");
    let (load, held) = traffic.end_when_whole(&space).await?;
    held.expect_all(AWAY + STARTUP + WAKE)?;
    let after = State::now(&space).await?;
    ensure!(
        before.interceptors == after.interceptors,
        "an interceptor was lost: {before:?}, then {after:?}: {load}"
    );
    let findings = Findings::new(format!("during the outage: {meanwhile}")).and(format!("held: {held}"));
    match load.failures() {
        0 => {
            load.expect_all(WARM)?;
            Ok(findings.and("none afterwards"))
        }
        _ => {
            let node_was_lost = before.nodes != after.nodes;
            ensure!(node_was_lost, "the node was ready all the while: {after:?}: {load}");
            Ok(findings.client_effect(refused(&load)?))
        }
    }
}

/// What clients noticed while Kubernetes took the node for lost.
fn refused(load: &Tally) -> Result<String> {
    let refused = load.failed.keys().all(|what| what.contains("Connection refused"));
    ensure!(
        refused && load.failing() <= HEARTBEAT && load.slowest <= HEARTBEAT + WARM,
        "for {:?}: {load}",
        load.failing()
    );
    Ok(format!(
        "when the API server is back, {} requests are refused by kube-proxy within {:.1} s: Kubernetes takes the only node for lost \
         until its next heartbeat, and so no Service of the cluster has an endpoint. Those that come by connections that are there \
         already are held meanwhile, up to {:.1} s, and answered",
        load.failures(),
        load.failing().as_secs_f64(),
        load.slowest.as_secs_f64()
    ))
}

/// What shows whether the node was taken for lost.
#[derive(Debug)]
struct State {
    /// How often each interceptor was started again.
    interceptors: BTreeMap<String, i32>,
    /// Since when each node is ready, or not.
    nodes: BTreeMap<String, Option<Time>>,
}

impl State {
    async fn now(space: &Space) -> Result<Self> {
        let pods = space.cluster.system(INTERCEPTOR).pods().await?;
        let nodes: Api<Node> = Api::all(space.cluster.client.clone());
        let nodes = nodes.list(&ListParams::default()).await?.items;
        Ok(Self {
            interceptors: pods.iter().map(|pod| (pod.name_any(), restarts(pod))).collect(),
            nodes: nodes.into_iter().map(|node| (node.name_any(), changed(node))).collect(),
        })
    }
}

fn restarts(pod: &Pod) -> i32 {
    let containers = pod.status.iter().flat_map(|status| &status.container_statuses);
    containers.flatten().map(|container| container.restart_count).sum()
}

/// When the node's condition `Ready` has changed last.
fn changed(node: Node) -> Option<Time> {
    let conditions = node.status?.conditions?;
    let ready = conditions.into_iter().find(|condition| condition.type_ == "Ready")?;
    ready.last_transition_time
}
