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

/// What every replica needs.
#[derive(Debug, Clone)]
pub(crate) struct PodContext {
    pub slices: EndpointSlices,
    pub ports: Ports,
    pub output: Output,
    /// Relative directories and programs are relative to this one.
    pub directory: PathBuf,
    /// Variables that a manifest may override.
    pub env: BTreeMap<String, String>,
}

/// How long a replica may take to end when everything stops, whatever its grace period.
pub(crate) const SHUTDOWN_LIMIT: Duration = Duration::from_secs(5);

/// The replicas of a Deployment.
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
    context: PodContext,
    deployments: Mutex<BTreeMap<Key, Deployment>>,
    shutdown: CancellationToken,
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
    pub(crate) fn new(context: PodContext) -> Self {
        Self {
            context,
            deployments: Mutex::default(),
            shutdown: CancellationToken::new(),
        }
    }

    /// These are the Deployments now: new ones are started, changed ones changed, and those that are gone are stopped.
    /// The number of replicas in a manifest counts only when a Deployment is new, because somebody may have scaled it.
    pub(crate) fn set(&self, workloads: Vec<Workload>) {
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

    pub(crate) fn scale(&self, deployment: &Key) -> Option<Scale> {
        let deployments = self.deployments.lock();
        Some(deployments.get(deployment)?.scale.clone())
    }

    /// What there is of a Deployment, live.
    pub fn status(&self, deployment: &Key) -> Option<watch::Receiver<Status>> {
        let deployments = self.deployments.lock();
        Some(deployments.get(deployment)?.status.clone())
    }

    /// Stops every replica and waits for them, at most [`SHUTDOWN_LIMIT`].
    pub(crate) async fn stop(&self) {
        self.shutdown.cancel();
        let deployments = std::mem::take(&mut *self.deployments.lock());
        for deployment in deployments.values() {
            deployment.deleted.cancel();
        }
        for deployment in deployments.into_values() {
            if let Err(error) = deployment.task.await {
                tracing::error!(%error, "the task of a Deployment has failed");
            }
        }
    }

    fn start(&self, workload: Workload) -> Deployment {
        for note in &workload.notes {
            self.context.output.print_line(&workload.key.name, note);
        }
        let scale = Scale::new(workload.replicas);
        let (template, templates) = watch::channel(Arc::new(workload.template));
        let (report, status) = watch::channel(Status {
            history: vec![0],
            ..Status::default()
        });
        let deleted = CancellationToken::new();
        let controller = deployment::Controller::new(workload.key, self.context.clone(), report, self.shutdown.clone());
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
