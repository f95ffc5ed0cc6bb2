//! The namespace of one story, with the apps, routes and ScaledObjects it needs.
//!
//! # Layout
//!
//! - `autowired`: ScaledObjects whose Service leads to the interceptors.
//! - `objects`: objects of any kind, and what their status says.
//! - `routes`: InterceptorRoutes.
//! - `scaled_objects`: ScaledObjects.

mod autowired;
mod objects;
mod routes;
mod scaled_objects;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::core::v1::{Event, Namespace, Pod};
use keda_http_core::queue::Queue;
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube::core::ObjectMeta;

use super::caller::{self, Answer};
use super::cluster::{Cluster, INTERCEPTOR, Workload, cluster_ip, endpoints, pod_address};
use crate::{manifests, wait};

/// How long KEDA and Kubernetes may take for what takes them seconds.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// How long a request to an app that is up may take. It takes milliseconds; the rest is for a machine with much to do.
pub const WARM: Duration = Duration::from_secs(5);
/// How long a request may be held beyond its app's own start. A wake takes a second; one operator of KEDA takes over from
/// another, that was killed, after 15.
pub const WAKE: Duration = Duration::from_secs(30);
/// How long the horizontal pod autoscaler may take: it looks every 15 seconds, and needs more than one look.
pub const AUTOSCALER: Duration = Duration::from_secs(120);

/// A namespace that goes with its story. A clone is the same namespace.
#[derive(Clone)]
pub struct Space {
    /// Where it is.
    pub cluster: Cluster,
    /// Its name.
    pub name: String,
    client: Client,
}

impl Space {
    /// Makes the namespace, anew where it was there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn create(cluster: &Cluster, story: &str) -> Result<Self> {
        let name = format!("story-{}", story.replace('_', "-"));
        let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
        let namespace = Namespace {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                ..ObjectMeta::default()
            },
            ..Namespace::default()
        };
        namespaces.delete(&name, &DeleteParams::default()).await.ok();
        wait::until("the namespace of an earlier run does not go", PATIENCE, async || {
            namespaces.create(&PostParams::default(), &namespace).await.ok()
        })
        .await?;
        let mut config = kube::Config::infer().await?;
        config.default_namespace.clone_from(&name);
        Ok(Self {
            cluster: cluster.clone(),
            name,
            client: Client::try_from(config)?,
        })
    }

    /// Deletes the namespace with all that is in it, and waits until it is gone.
    ///
    /// # Errors
    /// When it is not gone in time.
    pub async fn delete(&self) -> Result<()> {
        let namespaces: Api<Namespace> = Api::all(self.cluster.client.clone());
        namespaces.delete(&self.name, &DeleteParams::default()).await?;
        wait::until("the namespace does not go", PATIENCE, async || {
            namespaces.get_opt(&self.name).await.ok()?.is_none().then_some(())
        })
        .await
    }

    /// Applies every object of a YAML text.
    ///
    /// # Errors
    /// When one is refused.
    pub async fn apply(&self, yaml: &str) -> Result<()> {
        manifests::apply_text(&self.client, yaml).await
    }

    /// Applies a file of `e2e/manifests`, with the images of this cluster.
    ///
    /// # Errors
    /// When one of its objects is refused.
    pub async fn apply_file(&self, text: &str) -> Result<()> {
        let mut with_images = String::with_capacity(text.len());
        for line in text.lines() {
            match line.split_once("image: localhost/") {
                Some((before, image)) => {
                    let name = image.split(':').next().unwrap_or(image);
                    writeln!(with_images, "{before}image: {}", self.cluster.image(name))?;
                }
                None => writeln!(with_images, "{line}")?,
            }
        }
        self.apply(&with_images).await
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// When it is not there.
    pub async fn remove(&self, api_version: &str, kind: &str, name: &str) -> Result<()> {
        manifests::delete(&self.client, api_version, kind, &self.name, name).await
    }

    /// A host of this story alone.
    pub fn host(&self, name: &str) -> String {
        format!("{name}.{}.test", self.name)
    }

    /// A Deployment with the demo server, which answers at once where `env` does not say otherwise, and its Service, whose
    /// port 8080 is called `http`.
    ///
    /// # Errors
    /// When they are refused.
    pub async fn app(&self, name: &str, replicas: u32, env: &[(&str, &str)]) -> Result<Workload> {
        self.app_with(name, replicas, env, "").await
    }

    /// As [`Self::app`], with more fields of the Service's port.
    ///
    /// # Errors
    /// When they are refused.
    pub async fn app_with(&self, name: &str, replicas: u32, env: &[(&str, &str)], port: &str) -> Result<Workload> {
        let image = self.cluster.image("otel-tracing-server");
        let mut settings = BTreeMap::from([("RESPONSE_DELAY", "0")]);
        settings.extend(env.iter().copied());
        let variable = |(name, value)| format!("{{name: {name}, value: '{value}'}}");
        let variables = settings.into_iter().map(variable).collect::<Vec<_>>().join(", ");
        self.apply(&format!(
            "apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      terminationGracePeriodSeconds: 10
      containers:
        - name: server
          image: {image}
          imagePullPolicy: IfNotPresent
          env: [{variables}]
          ports: [{{name: http, containerPort: 8080}}]
          readinessProbe: {{httpGet: {{path: /healthz, port: http}}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  selector: {{app: {name}}}
  ports: [{{name: http, port: 8080, targetPort: http{port}}}]
"
        ))
        .await?;
        let workload = self.workload(name);
        if replicas > 0 {
            workload.rolled_out().await?;
        }
        Ok(workload)
    }

    /// A Deployment here.
    pub fn workload(&self, name: &str) -> Workload {
        Workload::new(&self.client, &self.name, name)
    }

    /// Where a Service of this namespace is reached.
    ///
    /// # Errors
    /// When it has no address.
    pub async fn url(&self, service: &str, port: u16) -> Result<String> {
        Ok(format!(
            "http://{}:{port}",
            cluster_ip(&self.client, &self.name, service).await?
        ))
    }

    /// `GET path` at the interceptor for the host `name` of this story.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn get(&self, name: &str, path: &str) -> Result<Answer> {
        let url = format!("{}{path}", self.cluster.interceptor().await?);
        caller::get(&url, &self.host(name)).await
    }

    /// How many requests of a route are pending, at all interceptors together.
    ///
    /// # Errors
    /// When one of them does not answer.
    pub async fn pending(&self, name: &str) -> Result<u64> {
        let mut pending = 0;
        for pod in self.cluster.system(INTERCEPTOR).pods().await? {
            pending += self.pending_at(&pod, name).await?;
        }
        Ok(pending)
    }

    /// How many requests of a route are pending at one interceptor.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn pending_at(&self, interceptor: &Pod, name: &str) -> Result<u64> {
        let url = format!("http://{}:9090/queue", pod_address(interceptor)?);
        let answer = caller::get(&url, "interceptor").await?;
        let queue: Queue = serde_json::from_str(&answer.body)?;
        let entry = queue.get(format!("{}/{name}", self.name).as_str());
        Ok(entry.map_or(0, |entry| entry.concurrency.unsigned_abs()))
    }

    /// Waits until that many requests of a route are pending.
    ///
    /// # Errors
    /// When they are not in time.
    pub async fn held(&self, name: &str, count: u64) -> Result<()> {
        wait::until("the requests are not pending", PATIENCE, async || {
            let pending = self.pending(name).await.ok()?;
            (pending >= count).then_some(())
        })
        .await
    }

    /// What has happened here, for whoever looks into a failure.
    pub async fn events(&self) -> String {
        let events: Api<Event> = Api::namespaced(self.client.clone(), &self.name);
        let Ok(list) = events.list(&ListParams::default()).await else {
            return "no events can be read".to_owned();
        };
        let warnings = list
            .items
            .into_iter()
            .filter(|event| event.type_.as_deref() != Some("Normal"));
        warnings.fold(String::new(), |mut text, event| {
            let object = event.involved_object.name.unwrap_or_default();
            let (reason, message) = (event.reason.unwrap_or_default(), event.message.unwrap_or_default());
            text.push_str(&format!("      {object}: {reason}: {message}\n"));
            text
        })
    }

    /// The addresses to which a Service leads, in order.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn endpoints(&self, service: &str) -> Result<Vec<String>> {
        endpoints(&self.client, &self.name, service).await
    }
}
