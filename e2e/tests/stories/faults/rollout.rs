//! `kubectl rollout restart` of one of the system's programs, under load and with requests held: clients notice nothing.

use std::time::Duration;

use anyhow::{Result, ensure};
use keda_http_e2e::story::space::{WAKE, WARM};
use keda_http_e2e::story::{Findings, Space};

use super::traffic::Traffic;

/// A rollout while requests are held for an app that takes `startup` to start, which must be longer than until the old pods
/// are asked to stop.
pub async fn rollout(space: &Space, name: &'static str, startup: Duration) -> Result<Findings> {
    let traffic = Traffic::start(space, startup).await?;
    let workload = space.cluster.system(name);
    let before = workload.pod_names().await?;
    workload.restart().await?;
    workload.replaced(&before).await?;
    ensure!(
        traffic.is_held(),
        "the held requests were answered before {before:?} were asked to stop, which proves nothing"
    );
    workload.rolled_out().await?;
    let (load, held) = traffic.end().await?;
    load.expect_all(WARM)?;
    held.expect_all(startup + WAKE)?;
    Ok(Findings::new(format!("load: {load}")).and(format!("held: {held}")))
}

/// The wake of an app that nobody has known before the rollout, in words.
pub async fn wake_afterwards(space: &Space) -> Result<String> {
    let new = space.app("new", 0, &[]).await?;
    space.route("new", "").await?;
    space.scaled("new", 1).await?;
    new.asleep(WAKE).await?;
    let answer = space.get("new", "/").await?.expect(200)?;
    ensure!(answer.took <= WAKE, "{answer:?}");
    Ok(format!("a wake afterwards took {:.1} s", answer.took.as_secs_f64()))
}
