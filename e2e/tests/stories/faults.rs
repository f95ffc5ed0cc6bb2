//! Rollouts, kills and outages under constant load and with requests held: what a client can tell of them.

mod apps;
mod autowire_fallback;
mod kills;
mod outages;
mod rollouts;

use anyhow::Result;
use keda_http_e2e::story::caller::{Load, Tally, herd};
use keda_http_e2e::story::node::Node;
use keda_http_e2e::story::space::PATIENCE;
use keda_http_e2e::story::{Skipped, Space, Story};
use tokio::task::JoinHandle;

const CHAPTER: &str = "Rollouts and faults";

pub const STORIES: &[Story] = &[
    rollouts::INTERCEPTOR_STORY,
    rollouts::SCALER_STORY,
    rollouts::KEDA_STORY,
    kills::INTERCEPTOR_STORY,
    kills::ONE_INTERCEPTOR_STORY,
    kills::SCALER_STORY,
    kills::KEDA_STORY,
    outages::API_SERVER,
    outages::CONTAINERD,
    autowire_fallback::STORY,
    apps::CRASHES,
    apps::NEVER_READY,
    apps::MISSING_IMAGE,
];

/// Requests a second to the app that is up.
const RATE: u32 = 20;
/// Requests held for the app that is not.
const HELD: u64 = 20;

/// A load on one app, and requests held for another one that takes eight seconds to start.
struct Traffic {
    load: Load,
    held: JoinHandle<Tally>,
}

impl Traffic {
    /// Begins; the load is answered and the others are held when this returns.
    async fn start(space: &Space) -> Result<Self> {
        space.app("warm", 1, &[]).await?;
        let front = space.autowired("warm", 1).await?;
        let slow = space.app("slow", 0, &[("STARTUP_DELAY", "8")]).await?;
        space.route("slow", "").await?;
        space.scaled("slow", 1).await?;
        slow.asleep(PATIENCE).await?;
        let load = Load::start(RATE, &front, &space.host("warm"))?;
        keda_http_e2e::wait::until("the load is not answered", PATIENCE, async || {
            (load.so_far().answered > 0).then_some(())
        })
        .await?;
        let held = herd(HELD as usize, &space.cluster.interceptor().await?, &space.host("slow"))?;
        space.held("slow", HELD).await?;
        Ok(Self { load, held })
    }

    /// Waits for the held requests, then ends the load. First the load's tally, then that of the held ones.
    async fn end(self) -> Result<(Tally, Tally)> {
        let held = self.held.await?;
        Ok((self.load.stop().await?, held))
    }
}

/// The node, where the cluster is one of `make cluster`.
fn node(space: &Space) -> Result<Node> {
    let reason = || Skipped("needs a cluster of `make cluster`, whose node is this machine".to_owned());
    space.cluster.node.clone().ok_or_else(|| reason().into())
}
