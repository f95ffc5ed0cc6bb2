//! `keda-http-scaler autowire --dry-run`.

use anyhow::Result;
use tokio::time::Instant;

use super::diff;
use super::reading::{Cluster, Reading};
use crate::config::AutowireCommandConfig;
use crate::controllers::autowire::restored::Restored;
use crate::controllers::autowire::service::health::DataPath;
use crate::controllers::autowire::service::plan::{Mode, Plan, Planner, Write};
use crate::controllers::autowire::service::world::World;

/// What autowire would write now, in words. Every ready interceptor is taken to listen where it should, as it does a moment
/// after it has been told to.
///
/// # Errors
/// When the cluster cannot be read.
pub async fn dry_run(cluster: &Cluster, config: &AutowireCommandConfig) -> Result<String> {
    let interceptors = cluster.interceptors(config).await?;
    let Reading { mut world, kinds, .. } = cluster.read().await?;
    let mut restored = Restored::new(cluster.client.clone(), config.admin_service.clone());
    let (mode, _) = restored.mode(world.listeners().restored.as_deref()).await;
    let before = world.listeners().ports.clone();
    let mut plan = plan(config, &mut world, interceptors, mode);
    plan.notices.extend(kinds.notices());
    Ok(diff::text(&world, &before, &plan, mode))
}

/// The ports are given out first, so that the rest can be seen too.
fn plan(config: &AutowireCommandConfig, world: &mut World, mut interceptors: DataPath, mode: Mode) -> Plan {
    let now = Instant::now();
    let mut planner = Planner::of_the_moment(config.autowire.ports.clone(), now);
    let first = planner.plan(world, &interceptors, mode, now);
    let given = first
        .writes
        .into_iter()
        .find(|write| matches!(write, Write::Listeners(..)));
    if let Some(Write::Listeners(ports, _)) = &given {
        world.give_out(ports.clone());
    }
    for interceptor in &mut interceptors.0 {
        interceptor.open = Some(world.listeners().ports.keys().copied().collect());
    }
    let mut plan = planner.plan(world, &interceptors, mode, now);
    plan.writes.splice(0..0, given);
    plan
}
