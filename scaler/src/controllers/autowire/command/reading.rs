//! What the commands know of the cluster: the same as the controller, read once and then followed.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use keda_http_kubernetes::endpoints::SERVICE_NAME;
use keda_http_kubernetes::source::{Source, cluster};
use keda_http_kubernetes::wired;
use kube::api::ListParams;
use kube::{Api, Client};
use tokio::time::timeout;

use crate::config::AutowireCommandConfig;
use crate::controllers::autowire::kinds::Kinds;
use crate::controllers::autowire::service::health::{DataPath, Interceptor};
use crate::controllers::autowire::service::world::World;
use crate::controllers::feed;
use crate::interceptors::slices::Slices;

/// How long reading everything may take.
const LIMIT: Duration = Duration::from_secs(60);

/// The way to the cluster.
pub struct Cluster {
    /// The way to the API server.
    pub client: Client,
    /// The namespace of scaler and interceptors.
    pub namespace: String,
    /// The only namespace that is looked at; `None` is all of them.
    pub watch_namespace: Option<String>,
}

/// What is known, and where changes come from.
pub(super) struct Reading {
    /// What is known.
    pub world: World,
    /// Who asks for kinds that are not rewired.
    pub kinds: Kinds,
    /// Where changes come from.
    pub source: Source,
}

impl Cluster {
    /// Finds the API server; nothing is sent yet.
    ///
    /// # Errors
    /// When nothing names one, or what names it cannot be used.
    pub async fn reach(config: &AutowireCommandConfig) -> Result<Self> {
        let (client, own_namespace) = cluster::client().await?;
        Ok(Self {
            client,
            namespace: config.cluster.namespace.clone().unwrap_or(own_namespace),
            watch_namespace: config.cluster.watch_namespace.clone(),
        })
    }

    /// Reads everything. The slices of autowire are listed besides, because a watch that is refused looks like nothing is
    /// there.
    pub(super) async fn read(&self) -> Result<Reading> {
        timeout(LIMIT, self.read_all())
            .await
            .with_context(|| format!("the API server did not answer within {LIMIT:?}"))?
    }

    async fn read_all(&self) -> Result<Reading> {
        let written = self.written().await?;
        let watch_namespace = self.watch_namespace.clone();
        let mut source = feed::open(self.client.clone(), &self.namespace, watch_namespace, true);
        let mut world = World::new(&self.namespace);
        let mut kinds = Kinds::default();
        while let Some(changes) = source.initial().await {
            for change in &changes {
                world.apply(change);
                kinds.apply(change);
            }
        }
        let known: usize = world.own().values().map(|slices| slices.len()).sum();
        if known == 0 && written > 0 {
            let problems = source.problems().borrow().clone();
            let problems = problems
                .iter()
                .map(|problem| format!("{}: {}", problem.place, problem.reason));
            bail!("Services cannot be read: {}", problems.collect::<Vec<_>>().join("; "));
        }
        Ok(Reading { world, kinds, source })
    }

    /// How many slices autowire has written.
    async fn written(&self) -> Result<usize> {
        let slices: Api<EndpointSlice> = match &self.watch_namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        };
        let selection = ListParams::default().labels(wired::SELECTOR);
        let slices = slices.list_metadata(&selection).await.context("EndpointSlices")?;
        Ok(slices.items.len())
    }

    /// The interceptors; on which ports they listen is not known here.
    pub(super) async fn interceptors(&self, config: &AutowireCommandConfig) -> Result<DataPath> {
        let admin = &config.admin_service;
        let slices: Api<EndpointSlice> = Api::namespaced(self.client.clone(), &admin.namespace);
        let selection = ListParams::default().labels(&format!("{SERVICE_NAME}={}", admin.service));
        let listed = slices.list(&selection).await;
        let listed =
            listed.with_context(|| format!("EndpointSlices of Service {}/{}", admin.namespace, admin.service))?;
        let mut fold = Slices::new(admin.port);
        fold.reset(&listed.items);
        let interceptors = fold.pods().into_iter().map(|pod| Interceptor {
            addresses: pod.addresses,
            ready: pod.ready,
            open: None,
            node: pod.node,
            zone: pod.zone,
        });
        Ok(DataPath(interceptors.collect()))
    }
}
