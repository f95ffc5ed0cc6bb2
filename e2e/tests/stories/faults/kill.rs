//! SIGKILL of a program on which no request depends, as when memory is short: no chance to say goodbye.
//!
//! What only the killed process knew is lost: the requests that it had. Everything else goes on.

use anyhow::Result;
use keda_http_e2e::story::space::{WAKE, WARM};
use keda_http_e2e::story::{Findings, Space};

use super::traffic::{STARTUP, Traffic, next_wake, node};

/// Kills all pods of a program at once while requests are held. KEDA has had the signal for these, but not for the next wake.
pub async fn kill_unnoticed(space: &Space, name: &'static str) -> Result<Findings> {
    let node = node(space)?;
    let traffic = Traffic::start(space, STARTUP).await?;
    for pod in space.cluster.system(name).pods().await? {
        node.kill(&pod).await?;
    }
    let (load, held) = traffic.end_when_whole(space).await?;
    load.expect_all(WARM)?;
    held.expect_all(STARTUP + WAKE)?;
    Ok(Findings::new(format!("load: {load}"))
        .and(format!("held: {held}"))
        .and(next_wake(space).await?))
}
