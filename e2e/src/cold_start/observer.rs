//! Watches and KEDA's stream, with the time of everything that is seen.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::{Stream, StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use keda_http_kubernetes::resources::ScaledObject;
use keda_http_proto::externalscaler::ScaledObjectRef;
use keda_http_proto::externalscaler::external_scaler_client::ExternalScalerClient;
use kube::api::Api;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::transport::Channel;

use super::Point;
use crate::wait;

/// What was seen, and when first.
#[derive(Default)]
struct Seen {
    first: BTreeMap<Point, Instant>,
    ready: bool,
}

/// Sees what happens to a workload. The watches end with it.
pub struct Observer {
    seen: Arc<Mutex<Seen>>,
    #[expect(dead_code, reason = "held for its drop, which ends the watches")]
    watches: JoinSet<()>,
}

impl Observer {
    /// Begins to watch.
    pub async fn start(
        client: &Client,
        namespace: &str,
        deployment: &str,
        service: &str,
        scaler: &str,
        object: &ScaledObject,
    ) -> Result<Self> {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let mut watches = JoinSet::new();
        let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
        let by_name = watcher::Config::default().fields(&format!("metadata.name={deployment}"));
        let note = seen.clone();
        watches.spawn(each(watcher(deployments, by_name), move |deployment| {
            if deployment.spec.is_some_and(|spec| spec.replicas.unwrap_or(1) > 0) {
                note.lock().note(Point::Scaled);
            }
        }));
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let (note, prefix) = (seen.clone(), format!("{deployment}-"));
        watches.spawn(each(watcher(pods, watcher::Config::default()), move |pod| {
            if pod.name_any().starts_with(&prefix) && pod.metadata.deletion_timestamp.is_none() {
                note.lock().note_pod(&pod);
            }
        }));
        let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), namespace);
        let of_service = watcher::Config::default().labels(&format!("kubernetes.io/service-name={service}"));
        let note = seen.clone();
        watches.spawn(each(watcher(slices, of_service), move |slice| {
            note.lock().note_slice(&slice);
        }));
        let stream = stream(scaler, object).await?;
        let note = seen.clone();
        watches.spawn(stream.for_each(move |active| {
            if active {
                note.lock().note(Point::Signal);
            }
            std::future::ready(())
        }));
        Ok(Self { seen, watches })
    }

    /// Whether a ready endpoint is known.
    pub fn is_ready(&self) -> bool {
        self.seen.lock().ready
    }

    /// What comes from now on is seen for the first time.
    pub fn forget(&self) {
        self.seen.lock().first.clear();
    }

    /// What was seen since `start`, as soon as `last` was.
    pub async fn since(&self, start: Instant, last: Point, limit: Duration) -> Result<BTreeMap<Point, Duration>> {
        wait::until("no endpoint was seen to be ready", limit, || async {
            self.seen.lock().first.contains_key(&last).then_some(())
        })
        .await?;
        let seen = self.seen.lock();
        Ok(seen
            .first
            .iter()
            .map(|(point, at)| (*point, at.saturating_duration_since(start)))
            .collect())
    }
}

impl Seen {
    fn note(&mut self, point: Point) {
        self.first.entry(point).or_insert_with(Instant::now);
    }

    fn note_pod(&mut self, pod: &Pod) {
        let Some(status) = &pod.status else { return };
        let scheduled = |condition: &k8s_openapi::api::core::v1::PodCondition| {
            condition.type_ == "PodScheduled" && condition.status == "True"
        };
        if status.conditions.iter().flatten().any(scheduled) {
            self.note(Point::Scheduled);
        }
        let running = |container: &k8s_openapi::api::core::v1::ContainerStatus| {
            container.state.as_ref().is_some_and(|state| state.running.is_some())
        };
        if status.container_statuses.iter().flatten().any(running) {
            self.note(Point::Running);
        }
    }

    fn note_slice(&mut self, slice: &EndpointSlice) {
        let ready = |endpoint: &k8s_openapi::api::discovery::v1::Endpoint| {
            endpoint
                .conditions
                .as_ref()
                .is_none_or(|conditions| conditions.ready.unwrap_or(true))
        };
        self.ready = slice.endpoints.iter().any(ready);
        if self.ready {
            self.note(Point::Ready);
        }
    }
}

/// Hands over every object that is there, new or changed.
async fn each<K>(events: impl Stream<Item = watcher::Result<watcher::Event<K>>>, mut see: impl FnMut(K))
where
    K: kube::Resource + Clone,
{
    let mut objects = std::pin::pin!(events.default_backoff().applied_objects());
    while let Some(object) = objects.next().await {
        // A watch that fails is begun anew.
        if let Ok(object) = object {
            see(object);
        }
    }
}

/// What the scaler sends to KEDA for the first trigger.
async fn stream(scaler: &str, object: &ScaledObject) -> Result<impl Stream<Item = bool> + Send + use<>> {
    let channel = Channel::from_shared(format!("http://{scaler}:9090"))?
        .connect()
        .await
        .context("the scaler")?;
    let metadata = object.spec.triggers.first().map(|trigger| trigger.metadata.clone());
    let call = ScaledObjectRef {
        name: object.name_any(),
        namespace: object.namespace().unwrap_or_default(),
        scaler_metadata: metadata.unwrap_or_default().into_iter().collect(),
    };
    let answers = ExternalScalerClient::new(channel)
        .stream_is_active(call)
        .await?
        .into_inner();
    Ok(answers
        .into_stream()
        .filter_map(|answer| std::future::ready(answer.ok().map(|answer| answer.result))))
}
