//! The cluster under test: addresses of Services, Deployments and their rollouts.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Container, Pod, Service};
use keda_http_kubernetes::resources::ScaledObject;
use keda_http_runtime::env::Environment;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use super::node::Node;
use crate::wait;

/// How long a Deployment may take to roll out.
const ROLLOUT: Duration = Duration::from_secs(180);

/// The Deployment of the interceptor, as upstream names it.
pub const INTERCEPTOR: &str = "keda-add-ons-http-interceptor";
/// The Deployment of the scaler, and the Service at which KEDA reaches it.
pub const SCALER: &str = "keda-add-ons-http-external-scaler";
/// KEDA's own Deployment.
pub const KEDA_OPERATOR: &str = "keda-operator";

/// What `make e2e` prints of its settings.
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
    /// When there is none.
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

    /// Has KEDA keep the interceptor, which it scales, at that many replicas; `None` ends that.
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

    /// Has KEDA go back to one interceptor, which its autoscaler would do after minutes.
    ///
    /// # Errors
    /// When it does not in time.
    pub async fn one_interceptor(&self) -> Result<()> {
        self.pause_interceptor(Some("1")).await?;
        let alone = self.system(INTERCEPTOR).scaled(ROLLOUT, |replicas| replicas == 1).await;
        self.pause_interceptor(None).await?;
        alone?;
        Ok(())
    }

    /// Waits until interceptor, scaler and KEDA are whole.
    ///
    /// # Errors
    /// When one of them is not in time, or has no replica.
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

/// A Deployment and its pods.
#[derive(Clone)]
pub struct Workload {
    client: Client,
    namespace: String,
    name: String,
}

impl Workload {
    /// A Deployment that is or will be there.
    pub fn new(client: &Client, namespace: &str, name: &str) -> Self {
        Self {
            client: client.clone(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    fn deployments(&self) -> Api<Deployment> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// `spec.replicas`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn replicas(&self) -> Result<i32> {
        let deployment = self.deployments().get(&self.name).await?;
        Ok(deployment.spec.and_then(|spec| spec.replicas).unwrap_or(1))
    }

    /// Waits for `spec.replicas` to be what is wanted.
    ///
    /// # Errors
    /// When it is not in time; the message has what it is.
    pub async fn scaled(&self, limit: Duration, wanted: impl Fn(i32) -> bool) -> Result<i32> {
        let mut last = None;
        let scaled = wait::until("the Deployment is not scaled as expected", limit, async || {
            last = self.replicas().await.ok();
            last.filter(|replicas| wanted(*replicas))
        })
        .await;
        scaled.with_context(|| format!("{} has {last:?} replicas", self.name))
    }

    /// Waits for zero replicas and no pod.
    ///
    /// # Errors
    /// When it does not come to that in time.
    pub async fn asleep(&self, limit: Duration) -> Result<()> {
        self.scaled(limit, |replicas| replicas == 0).await?;
        wait::until("its pods do not end", limit, async || {
            self.pods().await.ok().filter(Vec::is_empty)
        })
        .await?;
        Ok(())
    }

    /// Its pods, those that end too.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub async fn pods(&self) -> Result<Vec<Pod>> {
        let deployment = self.deployments().get(&self.name).await?;
        let labels = deployment
            .spec
            .and_then(|spec| spec.selector.match_labels)
            .unwrap_or_default();
        let selector: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        Ok(pods
            .list(&ListParams::default().labels(&selector.join(",")))
            .await?
            .items)
    }

    /// Sets `spec.replicas`.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn scale(&self, replicas: i32) -> Result<()> {
        self.patch(&json!({"spec": {"replicas": replicas}})).await
    }

    /// What `kubectl rollout restart` does, without waiting.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn restart(&self) -> Result<()> {
        let now = format!("{:?}", std::time::SystemTime::now());
        let template = json!({"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": now}}});
        self.patch(&json!({"spec": {"template": template}})).await
    }

    /// What `kubectl set env` does, without waiting; `None` removes a variable.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn set_env(&self, variables: &[(&str, Option<&str>)]) -> Result<()> {
        let container = self.container().await?;
        let set = |(name, value): &(&str, Option<&str>)| match value {
            Some(value) => json!({"name": name, "value": value}),
            None => json!({"name": name, "$patch": "delete"}),
        };
        let env: Vec<Value> = variables.iter().map(set).collect();
        self.set_containers(&json!([{"name": container.name, "env": env}]))
            .await
    }

    /// Awaits `meanwhile` while the pods have these variables; then they have again what they had before.
    ///
    /// # Errors
    /// Those of `meanwhile`, and when a rollout fails.
    pub async fn with_env<T>(
        &self,
        variables: &[(&str, Option<&str>)],
        meanwhile: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let before = self.container().await?.env.unwrap_or_default();
        let value = |name: &str| before.iter().find(|variable| variable.name == name)?.value.as_deref();
        let restored: Vec<_> = variables.iter().map(|(name, _)| (*name, value(name))).collect();
        let told = async {
            self.set_env(variables).await?;
            self.rolled_out().await?;
            meanwhile.await
        };
        let told = told.await;
        self.set_env(&restored).await?;
        self.rolled_out().await?;
        told
    }

    /// The first container of its pods.
    async fn container(&self) -> Result<Container> {
        let deployment = self.deployments().get(&self.name).await?;
        let pod = deployment
            .spec
            .and_then(|spec| spec.template.spec)
            .context("a pod template")?;
        pod.containers.into_iter().next().context("a container")
    }

    /// Merges what is given into the containers of the pod template, by their names.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn set_containers(&self, containers: &Value) -> Result<()> {
        self.patch(&json!({"spec": {"template": {"spec": {"containers": containers}}}}))
            .await
    }

    async fn patch(&self, patch: &Value) -> Result<()> {
        self.deployments()
            .patch(&self.name, &PatchParams::default(), &Patch::Strategic(patch))
            .await
            .with_context(|| format!("Deployment {}", self.name))?;
        Ok(())
    }

    /// Waits until all its pods are new, available, and the only ones.
    ///
    /// # Errors
    /// When they are not in time.
    pub async fn rolled_out(&self) -> Result<()> {
        let done = wait::until("the rollout does not end", ROLLOUT, async || {
            let deployment = self.deployments().get(&self.name).await.ok()?;
            let ended = self
                .pods()
                .await
                .ok()?
                .iter()
                .all(|pod| pod.metadata.deletion_timestamp.is_none());
            (ended && is_rolled_out(&deployment)).then_some(())
        });
        done.await.with_context(|| format!("{}/{}", self.namespace, self.name))
    }

    /// Names of its pods that do not end.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub async fn pod_names(&self) -> Result<Vec<String>> {
        let pods = self.pods().await?;
        let stay = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
        Ok(stay.map(ResourceExt::name_any).collect())
    }
}

fn is_rolled_out(deployment: &Deployment) -> bool {
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    deployment.status.as_ref().is_some_and(|status| {
        status.observed_generation >= deployment.metadata.generation
            && [status.replicas, status.updated_replicas, status.available_replicas]
                .iter()
                .all(|count| count.unwrap_or(0) == wanted)
    })
}
