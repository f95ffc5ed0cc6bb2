//! Plays the kubelet and the Deployment controller: a process for each replica.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::Key;
use crate::endpoint_slices::EndpointSlices;
use crate::output::Output;
use crate::ports::Ports;
use crate::scale::Scale;
use crate::workload::{Template, Workload};

mod allocation;
mod deployment;
mod pod;
mod probing;

/// What every replica needs from its surroundings.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// Where readiness is announced.
    pub slices: EndpointSlices,
    /// Where ports come from.
    pub ports: Ports,
    /// Where lines go.
    pub output: Output,
    /// Relative directories and programs are relative to this one.
    pub directory: PathBuf,
    /// Variables that a manifest may override.
    pub env: BTreeMap<String, String>,
}

/// How long a replica is given to end once everything ends, whatever its grace period.
pub const HURRY: Duration = Duration::from_secs(5);

/// What there is of a Deployment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Replicas that exist: starting, running, or ending.
    pub pods: usize,
    /// Of those, the ones that can be sent requests.
    pub ready: usize,
    /// Every number `pods` has had so far, in order.
    pub history: Vec<usize>,
}

/// All Deployments.
#[derive(Debug)]
pub struct Kubelet {
    surroundings: Surroundings,
    deployments: Mutex<BTreeMap<Key, Deployment>>,
    hurry: CancellationToken,
}

#[derive(Debug)]
struct Deployment {
    scale: Scale,
    template: watch::Sender<Arc<Template>>,
    status: watch::Receiver<Status>,
    deleted: CancellationToken,
    task: JoinHandle<()>,
}

impl Kubelet {
    /// Nothing runs yet.
    pub fn new(surroundings: Surroundings) -> Self {
        Self {
            surroundings,
            deployments: Mutex::default(),
            hurry: CancellationToken::new(),
        }
    }

    /// These are the Deployments now: new ones are started, changed ones changed, and those that are gone are stopped.
    /// The number of replicas in a manifest counts only when a Deployment is new, because somebody may have scaled it.
    pub fn set(&self, workloads: Vec<Workload>) {
        let mut deployments = self.deployments.lock();
        deployments.retain(|key, deployment| {
            let stays = workloads.iter().any(|workload| workload.key == *key);
            if !stays {
                deployment.deleted.cancel();
            }
            stays
        });
        for workload in workloads {
            match deployments.get(&workload.key) {
                Some(known) => known.change(workload.template),
                None => {
                    deployments.insert(workload.key.clone(), self.start(workload));
                }
            }
        }
    }

    /// The scale of a Deployment.
    pub fn scale(&self, deployment: &Key) -> Option<Scale> {
        self.deployments
            .lock()
            .get(deployment)
            .map(|deployment| deployment.scale.clone())
    }

    /// What there is of a Deployment, live.
    pub fn status(&self, deployment: &Key) -> Option<watch::Receiver<Status>> {
        self.deployments
            .lock()
            .get(deployment)
            .map(|deployment| deployment.status.clone())
    }

    /// Stops every replica and waits for them, at most [`HURRY`].
    pub async fn stop(&self) {
        self.hurry.cancel();
        let deployments = std::mem::take(&mut *self.deployments.lock());
        for deployment in deployments.values() {
            deployment.deleted.cancel();
        }
        for deployment in deployments.into_values() {
            if let Err(error) = deployment.task.await {
                tracing::error!(%error, "a Deployment has ended in disorder");
            }
        }
    }

    fn start(&self, workload: Workload) -> Deployment {
        for note in &workload.notes {
            self.surroundings.output.line(&workload.key.name, note);
        }
        let scale = Scale::new(workload.replicas);
        let (template, templates) = watch::channel(Arc::new(workload.template));
        let (report, status) = watch::channel(Status {
            history: vec![0],
            ..Status::default()
        });
        let deleted = CancellationToken::new();
        let controller =
            deployment::Controller::new(workload.key, self.surroundings.clone(), report, self.hurry.clone());
        let task = tokio::spawn(controller.run(scale.watch(), templates, deleted.clone()));
        Deployment {
            scale,
            template,
            status,
            deleted,
            task,
        }
    }
}

impl Deployment {
    fn change(&self, template: Template) {
        self.template.send_if_modified(|known| {
            let differs = **known != template;
            if differs {
                *known = Arc::new(template);
            }
            differs
        });
    }
}

#[cfg(test)]
mod tests;
