//! The API server does not answer for a minute; the node's containerd is restarted.

use std::time::Duration;

use anyhow::Result;
use keda_http_e2e::story::space::PATIENCE;
use keda_http_e2e::story::{Space, Story, Told};
use keda_http_e2e::wait;

use super::{CHAPTER, Traffic, node};

pub const API_SERVER: Story = Story {
    chapter: CHAPTER,
    name: "api_server_away",
    says: "While the API server hangs for a minute, requests to apps that are up are answered; a wake afterwards works",
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

async fn api_server(space: Space) -> Result<Told> {
    let node = node(&space)?;
    let traffic = Traffic::start(&space).await?;
    let away = node.pause("kube-apiserver")?;
    // Nothing tells when a minute is over but the clock.
    tokio::time::timeout(AWAY, std::future::pending::<()>()).await.ok();
    drop(away);
    conclude(space, traffic).await
}

async fn containerd(space: Space) -> Result<Told> {
    let node = node(&space)?;
    let traffic = Traffic::start(&space).await?;
    node.restart("containerd").await?;
    conclude(space, traffic).await
}

/// Nothing has failed, and the app that was to wake meanwhile has woken.
async fn conclude(space: Space, traffic: Traffic) -> Result<Told> {
    wait::until("the cluster does not come back", PATIENCE, async || {
        space.cluster.whole().await.ok()
    })
    .await?;
    let (load, held) = traffic.end().await?;
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
