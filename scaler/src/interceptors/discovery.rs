//! Finds the interceptors by the EndpointSlices of their admin Service.
//!
//! While the API server cannot be read, the last known set stays.

use std::collections::BTreeMap;
use std::sync::Arc;

use keda_http_kubernetes::endpoints::ServiceKey;
use keda_http_kubernetes::index::Index;
use keda_http_kubernetes::source::cluster::{self, ClusterSettings};
use keda_http_runtime::readiness::Readiness;
use tokio::sync::watch;

use super::Interceptors;
use super::slices::{Pod, Slices};
use crate::config::AdminService;

/// The name of its problems on `/readyz`.
pub const PROBLEM: &str = "discovery of interceptors";

/// Finds the interceptors.
pub struct Discovery {
    client: kube::Client,
    service: AdminService,
    slices: Slices,
    interceptors: watch::Sender<Interceptors>,
    pods: watch::Sender<Arc<[Pod]>>,
    readiness: Readiness,
    /// The current problem, so that each is logged once.
    problem: Option<String>,
}

impl Discovery {
    /// No interceptor is known until it runs.
    pub fn new(client: kube::Client, service: AdminService, readiness: Readiness) -> Self {
        Self {
            client,
            slices: Slices::new(&service.namespace, service.port),
            service,
            interceptors: watch::Sender::new(None),
            pods: watch::Sender::new(Arc::default()),
            readiness,
            problem: None,
        }
    }

    /// The Service by which they are found.
    pub fn service(&self) -> &AdminService {
        &self.service
    }

    /// Who is to be asked for reports.
    pub fn interceptors(&self) -> watch::Receiver<Interceptors> {
        self.interceptors.subscribe()
    }

    /// Their pods, with addresses and readiness.
    pub fn pods(&self) -> watch::Receiver<Arc<[Pod]>> {
        self.pods.subscribe()
    }

    /// Follows the EndpointSlices until the process ends.
    pub async fn run(mut self) {
        let settings = ClusterSettings {
            slices_of: Some(ServiceKey {
                namespace: self.service.namespace.clone(),
                name: self.service.service.clone(),
            }),
            ..ClusterSettings::default()
        };
        let mut source = cluster::open(self.client.clone(), settings);
        let mut problems = source.problems();
        let mut complete = false;
        loop {
            tokio::select! {
                changes = source.next_part(complete) => match changes {
                    Some(changes) => for change in &changes {
                        self.slices.update(change);
                    },
                    None if complete => return,
                    None => complete = true,
                },
                Ok(()) = problems.changed() => {}
            }
            let failing = problems.borrow_and_update().clone();
            let problem = failing.first().map(ToString::to_string);
            if complete {
                self.publish(problem);
            } else {
                self.report(problem);
            }
        }
    }

    /// What may not be read counts as empty to the source, but it is not known to be empty: with a problem, an empty
    /// set is published only when an earlier set is known. Lists that were read are published even when the watch is
    /// refused.
    fn publish(&mut self, problem: Option<String>) {
        let pods = self.slices.pods();
        let is_unknown = problem.is_some() && pods.is_empty() && self.interceptors.borrow().is_none();
        let AdminService { namespace, service, .. } = &self.service;
        let empty = format!("the EndpointSlices of Service {namespace}/{service} have no addresses");
        self.report(problem.or(pods.is_empty().then_some(empty)));
        if is_unknown {
            return;
        }
        let listed = pods.iter().map(|pod| (pod.interceptor.clone(), pod.ready));
        let interceptors: BTreeMap<_, _> = listed.collect();
        // Nobody else sends, so nothing changes between the comparison and the sending.
        if **self.pods.borrow() != *pods {
            self.pods.send_replace(pods.into());
        }
        if self.interceptors.borrow().as_ref() != Some(&interceptors) {
            tracing::info!(?interceptors, "the set of interceptors has changed");
            self.interceptors.send_replace(Some(interceptors));
        }
    }

    fn report(&mut self, problem: Option<String>) {
        if problem == self.problem {
            return;
        }
        match &problem {
            Some(problem) => tracing::warn!(problem, "interceptor discovery failed; keeping the last known set"),
            None => tracing::info!("interceptor discovery works again"),
        }
        self.readiness.set_problems(PROBLEM, problem.iter().cloned().collect());
        self.problem = problem;
    }
}
