//! Finds the interceptors by the EndpointSlices of their admin Service.
//!
//! They are few, so they are simply listed and then watched until the watch ends, over and over. While the API server is
//! away the set stays what it was.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use keda_http_runtime::backoff::Backoff;
use keda_http_runtime::readiness::Readiness;
use kube::Api;
use kube::api::{ListParams, WatchEvent, WatchParams};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use super::Interceptors;
use super::slices::{Pod, Slices};
use crate::config::AdminService;
use crate::root_cause::root_cause;

/// The label by which an EndpointSlice names its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// A list of a handful of objects takes milliseconds.
const LIST_TIMEOUT: Duration = Duration::from_secs(10);
/// The API server ends a watch after this long, so that one whose connection is silently gone is noticed soon after.
const WATCH_SECONDS: u32 = 60;
const WATCH_TIMEOUT: Duration = Duration::from_secs(65);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Under which name `/readyz` tells what is wrong.
pub const PROBLEM: &str = "discovery of interceptors";

/// Finds the interceptors.
pub struct Discovery {
    slices: Api<EndpointSlice>,
    service: AdminService,
    fold: Slices,
    interceptors: watch::Sender<Interceptors>,
    pods: watch::Sender<Arc<[Pod]>>,
    readiness: Readiness,
    /// What is wrong, so that it is told once.
    problem: Option<String>,
}

/// Why a round of list and watch is over.
#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error("{}", root_cause(.0))]
    Api(#[from] kube::Error),
    #[error("the API server did not answer within {LIST_TIMEOUT:?}")]
    NoAnswer,
    #[error("the watch broke: {0}")]
    Watch(String),
}

impl Discovery {
    /// Nobody is known until it runs.
    pub fn new(client: kube::Client, service: AdminService, readiness: Readiness) -> Self {
        Self {
            slices: Api::namespaced(client, &service.namespace),
            fold: Slices::new(service.port),
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

    /// Looks for interceptors, for ever.
    pub async fn run(mut self) {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            let started = Instant::now();
            if let Err(error) = self.round().await {
                self.tell(Some(format!("{}: {error}", self.place())));
            }
            if started.elapsed() > LONGEST_PAUSE {
                backoff.reset();
            }
            sleep(backoff.jittered()).await;
        }
    }

    /// Lists, and watches until the API server ends the watch.
    async fn round(&mut self) -> Result<(), RoundError> {
        let label = format!("{SERVICE_NAME}={}", self.service.service);
        let list = self.slices.clone();
        let parameters = ListParams::default().labels(&label);
        let list = timeout(LIST_TIMEOUT, list.list(&parameters)).await;
        let list = list.map_err(|_| RoundError::NoAnswer)??;
        self.fold.reset(&list.items);
        self.publish();
        let version = list.metadata.resource_version.unwrap_or_default();
        self.watch(&label, &version).await
    }

    async fn watch(&mut self, label: &str, version: &str) -> Result<(), RoundError> {
        let parameters = WatchParams::default().labels(label).timeout(WATCH_SECONDS);
        let slices = self.slices.clone();
        let events = timeout(LIST_TIMEOUT, slices.watch(&parameters, version)).await;
        let mut events = pin!(events.map_err(|_| RoundError::NoAnswer)??);
        loop {
            let event = timeout(WATCH_TIMEOUT, events.try_next()).await;
            let event = event.map_err(|_| RoundError::Watch(format!("it was silent for {WATCH_TIMEOUT:?}")))??;
            let Some(event) = event else { return Ok(()) };
            self.take_in(event)?;
            self.publish();
        }
    }

    fn take_in(&mut self, event: WatchEvent<EndpointSlice>) -> Result<(), RoundError> {
        match event {
            WatchEvent::Added(slice) | WatchEvent::Modified(slice) => self.fold.apply(&slice),
            WatchEvent::Deleted(slice) => self.fold.delete(&slice.metadata.name.unwrap_or_default()),
            WatchEvent::Bookmark(_) => {}
            WatchEvent::Error(status) => return Err(RoundError::Watch(status.message)),
        }
        Ok(())
    }

    fn publish(&mut self) {
        let pods = self.fold.pods();
        let nobody = pods.is_empty().then(|| format!("{} have no addresses", self.place()));
        self.tell(nobody);
        let listed = pods.iter().map(|pod| (pod.interceptor.clone(), pod.ready));
        let interceptors: BTreeMap<_, _> = listed.collect();
        self.pods.send_if_modified(|known| {
            let news = **known != *pods;
            if news {
                *known = pods.into();
            }
            news
        });
        self.interceptors.send_if_modified(|known| {
            let news = known.as_ref() != Some(&interceptors);
            if news {
                info!(?interceptors, "interceptors are listed");
                *known = Some(interceptors);
            }
            news
        });
    }

    /// Tells what is wrong, or that nothing is.
    fn tell(&mut self, problem: Option<String>) {
        if problem == self.problem {
            return;
        }
        match &problem {
            Some(problem) => warn!(
                problem,
                "interceptors are not found as they should be; who is known stays known"
            ),
            None => info!("interceptors are found again"),
        }
        self.readiness.set_problems(PROBLEM, problem.iter().cloned().collect());
        self.problem = problem;
    }

    fn place(&self) -> String {
        format!(
            "the EndpointSlices of Service {}/{}",
            self.service.namespace, self.service.service
        )
    }
}
