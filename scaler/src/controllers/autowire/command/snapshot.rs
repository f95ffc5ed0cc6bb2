//! What the commands read of the cluster: the same objects as the controller, read once and then followed.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use keda_http_kubernetes::endpoints::SERVICE_NAME;
use keda_http_kubernetes::index::Index;
use keda_http_kubernetes::object::Object;
use keda_http_kubernetes::source::{Change, Source, cluster};
use keda_http_kubernetes::wired;
use kube::api::ListParams;
use kube::{Api, Client};
use tokio::time::timeout;

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

/// Reads the cluster for a command.
pub struct ClusterReader {
    /// The client for the API server.
    pub client: Client,
    /// The namespace of scaler and interceptors.
    pub namespace: String,
    /// The only namespace whose objects are read; `None` reads all namespaces.
    pub watch_namespace: Option<String>,
}

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

impl ClusterReader {
    /// Finds the API server by the configuration of the pod or the kubeconfig. Sends nothing.
    ///
    /// # Errors
    /// When there is no such configuration, or it is not valid.
    pub async fn connect(config: &AutowireCommandConfig) -> Result<Self> {
        let (client, own_namespace) = cluster::client().await?;
        Ok(Self {
            client,
            namespace: config.cluster.namespace.clone().unwrap_or(own_namespace),
            watch_namespace: config.cluster.watch_namespace.clone(),
        })
    }

    pub(super) async fn read(&self, config: &AutowireCommandConfig) -> Result<Snapshot> {
        timeout(LIMIT, self.read_all(config))
            .await
            .with_context(|| format!("the API server did not answer within {LIMIT:?}"))?
    }

    async fn read_all(&self, config: &AutowireCommandConfig) -> Result<Snapshot> {
        let written = self.count_own_slices().await?;
        let watch_namespace = self.watch_namespace.clone();
        let mut snapshot = Snapshot {
            world: World::new(&self.namespace),
            unsupported: UnsupportedKinds::default(),
            restored: Restored::new(self.client.clone(), &self.namespace, config.admin_service.clone()),
            interceptors: self.interceptors(config).await?,
            source: feed::open(self.client.clone(), &self.namespace, watch_namespace, true),
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

    async fn count_own_slices(&self) -> Result<usize> {
        let slices: Api<EndpointSlice> = match &self.watch_namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        };
        let selection = ListParams::default().labels(wired::SELECTOR);
        let slices = slices.list_metadata(&selection).await.context("EndpointSlices")?;
        Ok(slices.items.len())
    }

    async fn interceptors(&self, config: &AutowireCommandConfig) -> Result<InterceptorPods> {
        let admin = &config.admin_service;
        let slices: Api<EndpointSlice> = Api::namespaced(self.client.clone(), &admin.namespace);
        let selection = ListParams::default().labels(&format!("{SERVICE_NAME}={}", admin.service));
        let listed = slices.list(&selection).await;
        let listed =
            listed.with_context(|| format!("EndpointSlices of Service {}/{}", admin.namespace, admin.service))?;
        let mut slices = Slices::new(&admin.namespace, admin.port);
        for slice in listed.items {
            slices.apply(&Object::EndpointSlice(Box::new(slice)));
        }
        let pods = slices.pods().into_iter();
        Ok(InterceptorPods(
            pods.map(|pod| ListeningPod { pod, open: None }).collect(),
        ))
    }
}
