//! Kind `service`: the EndpointSlices of a Service without a selector lead to the interceptors while these are well, and
//! to the pods of the fallback Service otherwise.
//!
//! # Layout
//!
//! - [`world`]: what is known of the cluster.
//! - [`survey`]: who asks for which Service port, who gets it, and why the others do not.
//! - [`listeners`]: which port of the interceptors belongs to which Service port.
//! - [`health`]: whether a Service port leads to the interceptors or to the pods.
//! - [`slices`]: what the EndpointSlices must be like.
//! - [`plan`]: all of these together, as a list of writes; [`write`](mod@write) does them.

pub mod health;
pub mod plan;
pub mod port_allocation;
pub mod slices;
pub mod survey;
pub mod world;
pub mod write;

use std::sync::Arc;

use keda_http_kubernetes::source::Change;
use tokio::time::Instant;
use tracing::warn;

use crate::config::AutowireConfig;
use crate::controllers::context::Context;
use crate::interceptors::open_ports::OpenListeners;
use crate::interceptors::slices::Pod;
use health::{DataPath, Interceptor};
use plan::{Mode, Plan, Planner};
use world::{Touched, World};
use write::Writer;

use super::notice::Notice;

/// Keeps the slices as they should be.
pub struct Services {
    world: World,
    planner: Planner,
    writer: Writer,
    /// What was wrong in the last round, so that it is told once.
    problems: Vec<String>,
}

/// How a round has ended.
pub struct Round {
    /// What people are told.
    pub notices: Vec<Notice>,
    /// Whether nothing was left to do.
    pub settled: bool,
}

impl Services {
    /// Nothing is known yet.
    pub fn new(context: &Context, config: &AutowireConfig) -> Self {
        Self {
            world: World::new(&context.namespace),
            planner: Planner::new(config.ports.clone(), config.debounce, Instant::now()),
            writer: Writer {
                client: context.client.clone(),
                namespace: context.namespace.clone(),
            },
            problems: Vec::new(),
        }
    }

    /// Takes changes in.
    pub fn apply(&mut self, changes: &[Change]) -> Touched {
        let touched = changes.iter().map(|change| self.world.apply(change)).max();
        touched.unwrap_or(Touched::Nothing)
    }

    /// What the ConfigMap says about all Services having been given back.
    pub fn restored(&self) -> Option<&str> {
        self.world.listeners().restored.as_deref()
    }

    /// When time alone makes something to do.
    pub fn deadline(&self) -> Option<Instant> {
        self.planner.deadline(Instant::now())
    }

    /// Does what must be done now.
    pub async fn round(&mut self, data_path: &DataPath, mode: Mode) -> Round {
        let Plan { writes, notices } = self.planner.plan(&self.world, data_path, mode, Instant::now());
        let settled = writes.is_empty();
        let listeners = self.world.listeners().clone();
        let written = self.writer.write(writes, &listeners, mode == Mode::Restored).await;
        for change in &written.changes {
            self.world.apply(change);
        }
        self.tell(written.errors.iter().map(ToString::to_string).collect());
        Round { notices, settled }
    }

    fn tell(&mut self, problems: Vec<String>) {
        for problem in problems.iter().filter(|problem| !self.problems.contains(problem)) {
            warn!(problem, "cannot be written, and is tried again");
        }
        self.problems = problems;
    }
}

/// The interceptors as autowire sees them.
pub fn data_path(pods: &Arc<[Pod]>, open: &OpenListeners) -> DataPath {
    let interceptor = |pod: &Pod| Interceptor {
        addresses: pod.addresses.clone(),
        ready: pod.ready,
        open: open.get(&pod.interceptor).cloned(),
        node: pod.node.clone(),
        zone: pod.zone.clone(),
    };
    DataPath(pods.iter().map(interceptor).collect())
}

#[cfg(test)]
mod tests;
