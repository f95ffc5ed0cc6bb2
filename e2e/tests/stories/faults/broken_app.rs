//! An app that does not come up: its requests get a clear answer in time, and once it is fixed the held requests are answered.

use std::time::Duration;

use anyhow::{Result, ensure};
use keda_http_e2e::story::Space;
use keda_http_e2e::story::caller::burst;
use keda_http_e2e::story::cluster::Workload;
use keda_http_e2e::story::space::{PATIENCE, WAKE};

/// What the app is called.
pub const BROKEN: &str = "broken";

/// Requests that are held while the app is fixed.
const HELD: u64 = 10;

/// With a readiness timeout of three seconds a request ends in 504 after three seconds.
pub async fn gives_up(space: &Space, app: &Workload) -> Result<String> {
    space.route(BROKEN, "  timeouts: {readiness: 3s}\n").await?;
    space.scaled(BROKEN, 1).await?;
    app.asleep(PATIENCE).await?;
    let answer = space.get(BROKEN, "/").await?.expect(504)?;
    ensure!(
        answer.took >= Duration::from_secs(3) && answer.took < Duration::from_secs(5),
        "{answer:?}"
    );
    Ok(format!(
        "504 after {:.1} s, {:?}",
        answer.took.as_secs_f64(),
        answer.body.trim()
    ))
}

/// With a readiness timeout that is long enough for the fix, held requests are answered.
pub async fn answered_after_fix(space: &Space, fix: impl Future<Output = Result<()>>) -> Result<String> {
    space.route(BROKEN, "  timeouts: {readiness: 2m}\n").await?;
    let held = burst(HELD as usize, &space.cluster.interceptor().await?, &space.host(BROKEN))?;
    space.held(BROKEN, HELD).await?;
    fix.await?;
    let tally = held.await?;
    tally.expect_all(WAKE)?;
    Ok(format!("fixed: {tally}"))
}
