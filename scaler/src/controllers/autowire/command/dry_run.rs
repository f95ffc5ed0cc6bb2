//! `keda-http-scaler autowire --dry-run`.

use anyhow::Result;
use tokio::time::Instant;

use super::diff;
use super::snapshot::{ClusterReader, Snapshot};
use crate::config::AutowireCommandConfig;
use crate::controllers::autowire::restored::Mode;
use crate::controllers::autowire::service::health::InterceptorPods;
use crate::controllers::autowire::service::plan::{Planner, Write, WritePlan};
use crate::controllers::autowire::service::world::World;

/// Describes what autowire would write now. Every ready interceptor is assumed to listen where it should, as it does a
/// moment after the ports were allocated.
///
/// # Errors
/// When the cluster cannot be read.
pub async fn dry_run(reader: &ClusterReader, config: &AutowireCommandConfig) -> Result<String> {
    let Snapshot {
        mut world,
        unsupported,
        mut restored,
        interceptors,
        ..
    } = reader.read(config).await?;
    let mode = restored.mode().await.unwrap_or(Mode::Restored);
    let before = world.allocations().ports.clone();
    let mut plan = plan(config, &mut world, interceptors, mode);
    plan.notices.extend(unsupported.notices());
    Ok(diff::text(&world, &before, &plan, mode))
}

/// Ports are allocated first, so that the slices that point to them are part of the plan.
fn plan(config: &AutowireCommandConfig, world: &mut World, mut interceptors: InterceptorPods, mode: Mode) -> WritePlan {
    let now = Instant::now();
    let mut planner = Planner::without_debounce(config.autowire.ports.clone(), now);
    let mut writes = planner.plan(world, &interceptors, mode, now).writes.into_iter();
    let allocation = writes.find(|write| matches!(write, Write::Ports(..)));
    if let Some(Write::Ports(ports, _)) = &allocation {
        world.assume_allocated(ports.clone());
    }
    for interceptor in &mut interceptors.0 {
        interceptor.open = Some(world.allocations().ports.keys().copied().collect());
    }
    let mut plan = planner.plan(world, &interceptors, mode, now);
    plan.writes.splice(0..0, allocation);
    plan
}
