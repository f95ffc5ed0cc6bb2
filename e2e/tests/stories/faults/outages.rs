//! The API server does not answer for a minute; the node's containerd is restarted.

use std::time::Duration;

use anyhow::{Result, ensure};
use keda_http_e2e::story::caller::Tally;
use keda_http_e2e::story::space::PATIENCE;
use keda_http_e2e::story::{Space, Story, Told};
use keda_http_e2e::wait;

use super::{CHAPTER, Traffic, node};

pub const API_SERVER: Story = Story {
    chapter: CHAPTER,
    name: "api_server_away",
    says: "While the API server hangs for a minute no request to an app that is up fails; what is held is answered afterwards",
    alone: true,
    tell: |space| Box::pin(api_server(space)),
};

pub const CONTAINERD: Story = Story {
    chapter: CHAPTER,
    name: "containerd_restarted",
    says: "A restart of the node's containerd fails no request, and a wake afterwards works",
    alone: true,
    tell: |space| Box::pin(containerd(space)),
};

const AWAY: Duration = Duration::from_secs(60);

/// When the API server is back after a minute, Kubernetes' node lifecycle controller finds the node's heartbeat too old, and
/// marks the node and all its pods as not ready until the next heartbeat. kube-proxy refuses connections to any Service then,
/// with or without us; nothing else may fail.
const HEARTBEAT: Duration = Duration::from_secs(15);

async fn api_server(space: Space) -> Result<Told> {
    let node = node(&space)?;
    let traffic = Traffic::start(&space).await?;
    let away = node.pause("kube-apiserver")?;
    // Nothing tells when a minute is over but the clock.
    tokio::time::timeout(AWAY, std::future::pending::<()>()).await.ok();
    let meanwhile = traffic.load.so_far();
    drop(away);
    meanwhile.expect_all()?;
    let (load, held) = ended(&space, traffic).await?;
    held.expect_all()?;
    let refused = load.failed.keys().all(|what| what.contains("Connection refused"));
    ensure!(
        refused && load.failing() <= HEARTBEAT,
        "for {:?}: {load}",
        load.failing()
    );
    let told = Told::that(format!("during the outage: {meanwhile}")).and(format!("held: {held}"));
    Ok(match load.failures() {
        0 => told.and("none afterwards"),
        refused => told.noticed(format!(
            "when the API server is back, {refused} requests are refused by kube-proxy within {:.1} s: Kubernetes takes the only node \
             for lost until its next heartbeat, and so no Service of the cluster has an endpoint",
            load.failing().as_secs_f64()
        )),
    })
}

async fn containerd(space: Space) -> Result<Told> {
    let node = node(&space)?;
    let traffic = Traffic::start(&space).await?;
    node.restart("containerd").await?;
    let (load, held) = ended(&space, traffic).await?;
    load.expect_all()?;
    held.expect_all()?;
    space.workload("slow").asleep(PATIENCE).await?;
    let next = space.get("slow", "/").await?.expect(200)?;
    Ok(Told::that(format!("load: {load}"))
        .and(format!("held: {held}"))
        .and(format!(
            "the next wake took {:.1} s, 8 s of them the app's own",
            next.took.as_secs_f64()
        )))
}

/// What became of the traffic, once the cluster is whole again.
async fn ended(space: &Space, traffic: Traffic) -> Result<(Tally, Tally)> {
    wait::until("the cluster does not come back", PATIENCE, async || {
        space.cluster.whole().await.ok()
    })
    .await?;
    traffic.end().await
}
