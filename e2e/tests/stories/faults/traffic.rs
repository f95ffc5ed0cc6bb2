//! What goes on while something is rolled out, killed or away: a load on one app, and requests held for another one.

use std::time::Duration;

use anyhow::Result;
use keda_http_e2e::story::caller::{self, Burst, Load, Tally, burst};
use keda_http_e2e::story::node::Node;
use keda_http_e2e::story::space::PATIENCE;
use keda_http_e2e::story::{Skipped, Space};
use keda_http_e2e::wait;

/// Requests a second to the app that is up.
pub const RATE: u32 = 20;
/// Requests held for the app that is not.
pub const HELD: u64 = 20;
/// How long the app of the held requests takes to start, where a story needs no longer.
pub const STARTUP: Duration = Duration::from_secs(8);

/// A load on one app, and requests held for another one that takes a while to start.
pub struct Traffic {
    pub load: Load,
    held: Burst,
}

impl Traffic {
    /// Begins; the load is answered and the others are held when this returns. Those begin to wake their app then, which takes
    /// `startup` to listen.
    pub async fn start(space: &Space, startup: Duration) -> Result<Self> {
        space.app("warm", 1, &[]).await?;
        let front = space.autowired("warm", 1).await?;
        let delay = startup.as_secs().to_string();
        let slow = space.app("slow", 0, &[("STARTUP_DELAY", &delay)]).await?;
        space.route("slow", "").await?;
        space.scaled("slow", 1).await?;
        slow.asleep(PATIENCE).await?;
        // Without traffic the other one sleeps by now; its cold start is not part of the load.
        caller::get(&front, &space.host("warm")).await?.expect(200)?;
        let load = Load::start(RATE, &front, &space.host("warm"))?;
        is_answered(&load).await?;
        let held = burst(HELD as usize, &space.cluster.interceptor().await?, &space.host("slow"))?;
        space.held("slow", HELD).await?;
        Ok(Self { load, held })
    }

    /// Whether the held requests are not answered yet.
    pub fn is_held(&self) -> bool {
        !self.held.is_finished()
    }

    /// Waits for the held requests, then ends the load. First the load's tally, then that of the held ones.
    pub async fn end(self) -> Result<(Tally, Tally)> {
        let held = self.held.await?;
        Ok((self.load.stop().await?, held))
    }

    /// As [`Self::end`], once the cluster is whole again.
    pub async fn end_when_whole(self, space: &Space) -> Result<(Tally, Tally)> {
        wait::until("the cluster does not come back", PATIENCE, async || {
            space.cluster.whole().await.ok()
        })
        .await?;
        self.end().await
    }
}

/// Waits for the answers to a second of a load.
pub async fn is_answered(load: &Load) -> Result<()> {
    wait::until("the load is not answered", PATIENCE, async || {
        (load.so_far().answered >= u64::from(RATE)).then_some(())
    })
    .await
}

/// Another wake of the app of the held requests, in words.
pub async fn next_wake(space: &Space) -> Result<String> {
    space.workload("slow").asleep(PATIENCE).await?;
    let next = space.get("slow", "/").await?.expect(200)?;
    Ok(format!(
        "the next wake took {:.1} s, {} s of them the app's own",
        next.took.as_secs_f64(),
        STARTUP.as_secs()
    ))
}

/// The node, where the cluster is one of `make cluster`.
pub fn node(space: &Space) -> Result<Node> {
    let reason = || Skipped("needs a cluster of `make cluster`, whose node is this machine".to_owned());
    space.cluster.node.clone().ok_or_else(|| reason().into())
}
