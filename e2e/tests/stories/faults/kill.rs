//! SIGKILL of a program on which no request depends, as when memory is short: no chance to say goodbye.
//!
//! What only the killed process knew is lost: the requests that it had. Everything else goes on.

use anyhow::Result;
use keda_http_e2e::story::space::{WAKE, WARM};
use keda_http_e2e::story::{Space, Told};

use super::traffic::{STARTUP, Traffic, next_wake, node};

/// All its pods at once, while requests are held; what was held had been told to KEDA before, the next wake was not.
pub async fn nobody_can_tell(space: &Space, name: &'static str) -> Result<Told> {
    let node = node(space)?;
    let traffic = Traffic::start(space, STARTUP).await?;
    for pod in space.cluster.system(name).pods().await? {
        node.kill(&pod).await?;
    }
    let (load, held) = traffic.end_when_whole(space).await?;
    load.expect_all(WARM)?;
    held.expect_all(STARTUP + WAKE)?;
    Ok(Told::that(format!("load: {load}"))
        .and(format!("held: {held}"))
        .and(next_wake(space).await?))
}
