//! Plays KEDA: calls the scaler as KEDA does, and scales as KEDA and the HPA do. Also the contract test of the scaler.
//!
//! What is copied from KEDA, because scalers depend on it: calls have no deadline; each read of a metric is
//! GetMetrics and then IsActive; `false` on the stream is ignored; the stream is opened again after 2 s doubling to 60 s,
//! and only a clean end makes that short again; nothing is scaled to zero but by a poll; errors leave replicas alone.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use tokio::sync::watch;
use tonic::transport::{Channel, Endpoint};

use crate::Key;
use crate::output::Output;
use crate::scale::Scale;

mod client;
mod decision;
mod failures;
mod hpa;
mod plan;
mod push;
mod scale_loop;

pub(crate) use plan::{MetricType, Plan, Trigger};

/// All ScaledObjects.
#[derive(Debug)]
pub struct Keda {
    scaler: Channel,
    output: Output,
    loops: Mutex<BTreeMap<Key, Running>>,
}

#[derive(Debug)]
struct Running {
    plan: Plan,
    scale: Scale,
    settled: watch::Receiver<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Keda {
    /// Calls the scaler at `address` (`host:port`); it need not be there yet.
    ///
    /// # Errors
    /// When the address is not valid.
    pub(crate) fn new(address: &str, output: Output) -> Result<Self, tonic::transport::Error> {
        let scaler = Endpoint::from_shared(format!("http://{address}"))?
            .tcp_nodelay(true)
            .connect_lazy();
        Ok(Self {
            scaler,
            output,
            loops: Mutex::default(),
        })
    }

    /// These are the ScaledObjects now. A changed one starts anew, as KEDA's scale loop does with each new generation.
    /// One whose Deployment does not exist is skipped, which is printed.
    pub(crate) fn set(&self, plans: Vec<Plan>, scale_of: impl Fn(&Key) -> Option<Scale>) {
        let mut loops = self.loops.lock();
        loops.retain(|_, running| {
            let same_workload = scale_of(&running.plan.workload).is_some_and(|scale| scale.is_that_of(&running.scale));
            same_workload && plans.contains(&running.plan)
        });
        for plan in plans {
            if loops.contains_key(&plan.key) {
                continue;
            }
            let Some(scale) = scale_of(&plan.workload) else {
                self.output.print_line(
                    "keda",
                    &format!("{}: there is no Deployment {}", plan.key, plan.workload),
                );
                continue;
            };
            loops.insert(plan.key.clone(), self.start(plan, scale));
        }
    }

    /// Waits until every ScaledObject has been polled once and its streams have been opened.
    pub async fn settled(&self) {
        let loops: Vec<_> = self
            .loops
            .lock()
            .values()
            .map(|running| running.settled.clone())
            .collect();
        for mut settled in loops {
            let _ = settled.wait_for(|settled| *settled).await; // a loop that has ended needs no waiting
        }
    }

    fn start(&self, plan: Plan, scale: Scale) -> Running {
        for note in &plan.notes {
            self.output.print_line("keda", &format!("{}: {note}", plan.key));
        }
        let (sender, settled) = watch::channel(false);
        let output = self.output.clone();
        let scale_loop = scale_loop::ScaleLoop::new(plan.clone(), &self.scaler, scale.clone(), output, sender);
        let task = tokio::spawn(scale_loop.run());
        Running {
            plan,
            scale,
            settled,
            task,
        }
    }

    /// Stops all scale loops.
    pub(crate) fn stop(&self) {
        self.loops.lock().clear();
    }
}

#[cfg(test)]
mod tests;
