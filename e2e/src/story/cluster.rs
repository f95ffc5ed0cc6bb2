//! The cluster under test: addresses of Services, Deployments and their rollouts.
//!
//! # Layout
//!
//! - [`prometheus`]: metrics of a pod in the format of Prometheus.
//! - `put_back`: runs a story and restores what it has changed, also when it fails.
//! - `workload`: a Deployment and its pods.

pub mod prometheus;
mod put_back;
mod workload;

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use keda_http_kubernetes::resources::ScaledObject;
use keda_http_runtime::env::Environment;
use kube::Client;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::json;

use super::node::Node;
pub use put_back::then_put_back;
pub use workload::Workload;

/// How long a Deployment may take to roll out.
const ROLLOUT: Duration = Duration::from_secs(180);

/// The Deployment of the interceptor, as upstream names it.
pub const INTERCEPTOR: &str = "keda-add-ons-http-interceptor";
/// The Deployment of the scaler, and the Service at which KEDA reaches it.
pub const SCALER: &str = "keda-add-ons-http-external-scaler";
/// The Deployment of KEDA's operator, which asks the scaler.
pub const KEDA_OPERATOR: &str = "keda-operator";

/// The settings that [`Cluster::open`] reads, for a program's `--help`.
pub const SETTINGS: &str = "\
  KUBECONFIG        the cluster; without it the pod's own. Addresses of Services must be reachable from here
  KEDA_NAMESPACE    of KEDA, the interceptor and the scaler (keda)
  IMAGE_REPOSITORY  where the images of the apps are (localhost)
  IMAGE_TAG         their tag (dev)
  CLUSTER_RUN       state of a cluster that `make cluster` started; without it faults of the node are skipped
";

/// A cluster with KEDA, and with interceptor and scaler beside it.
#[derive(Clone)]
pub struct Cluster {
    /// Its API.
    pub client: Client,
    /// The namespace of KEDA, the interceptor and the scaler.
    pub keda: String,
    /// The node itself, where it is this machine.
    pub node: Option<Node>,
    repository: String,
    tag: String,
}

impl Cluster {
    /// The cluster that the environment names.
    ///
    /// # Errors
    /// When there is no cluster, or KEDA is not installed on it.
    pub async fn open(environment: &Environment) -> Result<Self> {
        let setting = |name, default: &str| environment.get(name).unwrap_or_else(|| default.to_owned());
        Ok(Self {
            client: Client::try_default().await?,
            keda: setting("KEDA_NAMESPACE", "keda"),
            node: environment.get("CLUSTER_RUN").map(Node::new),
            repository: setting("IMAGE_REPOSITORY", "localhost"),
            tag: setting("IMAGE_TAG", "dev"),
        })
    }

    /// The image of an app.
    pub fn image(&self, name: &str) -> String {
        format!("{}/{name}:{}", self.repository, self.tag)
    }

    /// Where requests to the interceptor are sent.
    ///
    /// # Errors
    /// When it has no Service.
    pub async fn interceptor(&self) -> Result<String> {
        let address = cluster_ip(&self.client, &self.keda, &format!("{INTERCEPTOR}-proxy")).await?;
        Ok(format!("http://{address}:8080"))
    }

    /// A Deployment beside KEDA.
    pub fn system(&self, name: &'static str) -> Workload {
        Workload::new(&self.client, &self.keda, name)
    }

    /// Makes KEDA keep the interceptor at that many replicas; `None` ends that.
    ///
    /// # Errors
    /// When the interceptor has no ScaledObject.
    pub async fn pause_interceptor(&self, replicas: Option<&str>) -> Result<()> {
        let objects: Api<ScaledObject> = Api::namespaced(self.client.clone(), &self.keda);
        let patch = json!({"metadata": {"annotations": {"autoscaling.keda.sh/paused-replicas": replicas}}});
        objects
            .patch(INTERCEPTOR, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .context("the interceptor's ScaledObject")?;
        Ok(())
    }

    /// Makes KEDA scale back to one interceptor, which the autoscaler would do only after minutes.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn one_interceptor(&self) -> Result<()> {
        let alone = Box::pin(async {
            self.pause_interceptor(Some("1")).await?;
            self.system(INTERCEPTOR).scaled(ROLLOUT, |replicas| replicas == 1).await
        });
        then_put_back(alone, self.pause_interceptor(None)).await?;
        Ok(())
    }

    /// Waits until interceptor, scaler and KEDA have all their replicas, and these are ready.
    ///
    /// # Errors
    /// When one of them takes too long, or has no replica.
    pub async fn whole(&self) -> Result<()> {
        for name in [INTERCEPTOR, SCALER, KEDA_OPERATOR] {
            let workload = self.system(name);
            workload.scaled(ROLLOUT, |replicas| replicas > 0).await?;
            workload.rolled_out().await?;
        }
        Ok(())
    }
}

/// The address of a Service.
///
/// # Errors
/// When there is no such Service, or it has none.
pub async fn cluster_ip(client: &Client, namespace: &str, name: &str) -> Result<String> {
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    let service = services
        .get(name)
        .await
        .with_context(|| format!("Service {namespace}/{name}"))?;
    let address = service.spec.and_then(|spec| spec.cluster_ip);
    address.with_context(|| format!("Service {namespace}/{name} has no address"))
}

/// The addresses to which a Service leads, in order.
///
/// # Errors
/// When they cannot be read.
pub async fn endpoints(client: &Client, namespace: &str, service: &str) -> Result<Vec<String>> {
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), namespace);
    let of_service = ListParams::default().labels(&format!("kubernetes.io/service-name={service}"));
    let list = slices.list(&of_service).await?;
    let endpoints = list.items.into_iter().flat_map(|slice| slice.endpoints);
    let mut addresses: Vec<String> = endpoints.flat_map(|endpoint| endpoint.addresses).collect();
    addresses.sort();
    Ok(addresses)
}

/// The address of a pod.
///
/// # Errors
/// When it has none yet.
pub fn pod_address(pod: &Pod) -> Result<&str> {
    let address = pod.status.as_ref().and_then(|status| status.pod_ip.as_deref());
    address.context("a pod without address")
}
