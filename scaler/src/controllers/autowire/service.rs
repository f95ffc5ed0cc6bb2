//! Kind `service`: the EndpointSlices of a Service without a selector point to the interceptors while these are
//! healthy, and to the pods of the fallback Service otherwise.
//!
//! # Layout
//!
//! - [`world`]: the relevant state of the cluster.
//! - [`survey`]: which objects ask for which Service port, which of them gets it, and why the others do not.
//! - [`port_allocation`]: which port of the interceptors belongs to which Service port.
//! - [`health`]: whether a Service port points to the interceptors or to the pods.
//! - [`slices`]: the EndpointSlices that should exist.
//! - [`plan`]: all of these together, as a list of writes; [`write`](mod@write) does them.

pub(crate) mod health;
pub(crate) mod plan;
pub(crate) mod port_allocation;
pub(crate) mod slices;
pub(crate) mod survey;
pub(crate) mod world;
pub(crate) mod write;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use keda_http_kubernetes::source::Change;
use tokio::time::Instant;

use super::restored::Mode;
use super::{Impact, Inputs, ReconcileOutcome, Rewirer};
use crate::config::AutowireConfig;
use crate::controllers::context::Context;
use health::{InterceptorPods, ListeningPod};
use plan::{Planner, WritePlan};
use world::World;
use write::Writer;

/// Keeps the EndpointSlices of autowired Services as they should be.
pub(crate) struct Services {
    world: World,
    planner: Planner,
    writer: Writer,
    /// What failed in the last round, so that it is logged once.
    problems: Vec<String>,
}

impl Services {
    pub(crate) fn new(context: &Context, config: &AutowireConfig) -> Self {
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

    async fn write_plan(&mut self, inputs: &Inputs) -> ReconcileOutcome {
        let interceptors = listening(inputs);
        let WritePlan { writes, notices } = self
            .planner
            .plan(&self.world, &interceptors, inputs.mode, Instant::now());
        let settled = writes.is_empty();
        let allocations = self.world.allocations().clone();
        let keep_marker = inputs.mode == Mode::Restored;
        let written = self.writer.write(writes, &allocations, keep_marker).await;
        self.world.apply_all(&written.changes);
        self.report(written.errors.iter().map(ToString::to_string).collect());
        ReconcileOutcome { notices, settled }
    }

    fn report(&mut self, problems: Vec<String>) {
        for problem in problems.iter().filter(|problem| !self.problems.contains(problem)) {
            tracing::warn!(problem, "autowire write failed; retrying");
        }
        self.problems = problems;
    }
}

impl Rewirer for Services {
    fn apply(&mut self, changes: &[Change]) -> Impact {
        self.world.apply_all(changes)
    }

    fn deadline(&self) -> Option<Instant> {
        self.planner.deadline(Instant::now())
    }

    fn reconcile<'a>(&'a mut self, inputs: &'a Inputs) -> BoxFuture<'a, ReconcileOutcome> {
        self.write_plan(inputs).boxed()
    }
}

fn listening(inputs: &Inputs) -> InterceptorPods {
    let pods = inputs.pods.iter().cloned();
    let listening = pods.map(|pod| ListeningPod {
        open: inputs.open_ports.get(&pod.interceptor).cloned(),
        pod,
    });
    InterceptorPods(listening.collect())
}

#[cfg(test)]
mod tests;
