//! What the commands read of the cluster: the same objects as the controller, read once and then followed.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use keda_http_kubernetes::endpoints::SERVICE_NAME;
use keda_http_kubernetes::index::Index;
use keda_http_kubernetes::object::Object;
use keda_http_kubernetes::source::{Change, Source};
use keda_http_kubernetes::wired;
use kube::Api;
use kube::api::ListParams;
use tokio::time::timeout;

use crate::cluster::Cluster;
use crate::config::AutowireCommandConfig;
use crate::controllers::autowire::Impact;
use crate::controllers::autowire::restored::Restored;
use crate::controllers::autowire::service::health::{InterceptorPods, ListeningPod};
use crate::controllers::autowire::service::world::World;
use crate::controllers::autowire::unsupported::UnsupportedKinds;
use crate::controllers::feed;
use crate::interceptors::slices::Slices;

/// The longest time for reading everything.
const LIMIT: Duration = Duration::from_secs(60);

pub(super) struct Snapshot {
    pub(super) world: World,
    pub(super) unsupported: UnsupportedKinds,
    pub(super) restored: Restored,
    /// Without the ports on which they listen.
    pub(super) interceptors: InterceptorPods,
    /// Delivers the changes since.
    pub(super) source: Source,
}

impl Snapshot {
    pub(super) fn apply(&mut self, changes: &[Change]) -> Impact {
        for change in changes {
            self.unsupported.apply(change);
            self.restored.apply(change);
        }
        self.world.apply_all(changes)
    }
}

/// Reads everything that autowire decides by.
pub(super) async fn read(cluster: &Cluster, config: &AutowireCommandConfig) -> Result<Snapshot> {
    let read = timeout(LIMIT, read_all(cluster, config)).await;
    read.with_context(|| format!("the API server did not answer within {LIMIT:?}"))?
}

async fn read_all(cluster: &Cluster, config: &AutowireCommandConfig) -> Result<Snapshot> {
    let written = count_own_slices(cluster).await?;
    let admin_service = config.admin_service.clone();
    let mut snapshot = Snapshot {
        world: World::new(&cluster.namespace),
        unsupported: UnsupportedKinds::default(),
        restored: Restored::new(cluster.client.clone(), &cluster.namespace, admin_service),
        interceptors: interceptors(cluster, config).await?,
        source: feed::open(cluster, true),
    };
    while let Some(changes) = snapshot.source.initial().await {
        snapshot.apply(&changes);
    }
    // A watch that is refused looks as if there were no objects.
    if written > 0 && snapshot.world.own().is_empty() {
        let problems = snapshot.source.problems().borrow().clone();
        let problems = problems.iter().map(ToString::to_string);
        bail!("cannot read Services: {}", problems.collect::<Vec<_>>().join("; "));
    }
    Ok(snapshot)
}

async fn count_own_slices(cluster: &Cluster) -> Result<usize> {
    let slices: Api<EndpointSlice> = match &cluster.watch_namespace {
        Some(namespace) => Api::namespaced(cluster.client.clone(), namespace),
        None => Api::all(cluster.client.clone()),
    };
    let selection = ListParams::default().labels(wired::SELECTOR);
    let slices = slices.list_metadata(&selection).await.context("EndpointSlices")?;
    Ok(slices.items.len())
}

async fn interceptors(cluster: &Cluster, config: &AutowireCommandConfig) -> Result<InterceptorPods> {
    let admin = &config.admin_service;
    let slices: Api<EndpointSlice> = Api::namespaced(cluster.client.clone(), &admin.namespace);
    let selection = ListParams::default().labels(&format!("{SERVICE_NAME}={}", admin.service));
    let listed = slices.list(&selection).await;
    let listed = listed.with_context(|| format!("EndpointSlices of Service {}/{}", admin.namespace, admin.service))?;
    let mut slices = Slices::new(&admin.namespace, admin.port);
    for slice in listed.items {
        slices.apply(&Object::EndpointSlice(Box::new(slice)));
    }
    let pods = slices.pods().into_iter();
    Ok(InterceptorPods(
        pods.map(|pod| ListeningPod { pod, open: None }).collect(),
    ))
}
