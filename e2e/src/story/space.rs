//! The namespace of one story, with the apps, routes and ScaledObjects it needs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Event, Namespace, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use keda_http_core::queue::Queue;
use keda_http_kubernetes::resources::ScaledObject;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::{GroupVersionKind, ObjectMeta};
use kube::{Client, discovery};
use serde_json::{Value, json};

use super::caller::{self, Answer};
use super::cluster::{Cluster, INTERCEPTOR, Workload, cluster_ip};
use crate::{manifests, wait};

/// How long KEDA and Kubernetes may take for what takes them seconds.
pub const PATIENCE: Duration = Duration::from_secs(90);

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

    /// An InterceptorRoute to the Service of the same name, for the host of that name; `more` is what else its `spec` has,
    /// each line indented by two spaces. It is ready when this returns.
    ///
    /// # Errors
    /// When it is refused or not ready in time.
    pub async fn route(&self, name: &str, more: &str) -> Result<()> {
        let host = self.host(name);
        let metric = match more.contains("scalingMetric") {
            true => "",
            false => "  scalingMetric: {concurrency: {targetValue: 100}}\n",
        };
        self.apply(&format!(
            "apiVersion: http.keda.sh/v1beta1
kind: InterceptorRoute
metadata: {{name: {name}}}
spec:
  target: {{service: {name}, port: 8080}}
  rules: [{{hosts: [{host}]}}]
{metric}{more}"
        ))
        .await?;
        self.ready("http.keda.sh/v1beta1", "InterceptorRoute", name).await
    }

    /// A ScaledObject with upstream's trigger for an InterceptorRoute: the Deployment, the route and it have one name. It
    /// scales to zero as quickly as KEDA can.
    ///
    /// # Errors
    /// When it is refused or not ready in time.
    pub async fn scaled(&self, name: &str, max: u32) -> Result<Workload> {
        let keda = &self.cluster.keda;
        self.apply(&format!(
            "apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {{name: {name}}}
spec:
  scaleTargetRef: {{name: {name}}}
  minReplicaCount: 0
  maxReplicaCount: {max}
  pollingInterval: 1
  cooldownPeriod: 1
  advanced:
    horizontalPodAutoscalerConfig:
      behavior: {{scaleDown: {{stabilizationWindowSeconds: 5}}}}
  triggers:
    - type: external-push
      metadata: {{scalerAddress: 'keda-add-ons-http-external-scaler.{keda}:9090', interceptorRoute: {name}}}
"
        ))
        .await?;
        self.ready("keda.sh/v1alpha1", "ScaledObject", name).await?;
        Ok(self.workload(name))
    }

    /// A Deployment here.
    pub fn workload(&self, name: &str) -> Workload {
        Workload::new(&self.client, &self.name, name)
    }

    /// An object as it is now.
    ///
    /// # Errors
    /// When it is not there.
    pub async fn object(&self, api_version: &str, kind: &str, name: &str) -> Result<Value> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let kind = GroupVersionKind::gvk(group, version, kind);
        let (resource, _) = discovery::pinned_kind(&self.client, &kind).await?;
        let api: Api<DynamicObject> = Api::default_namespaced_with(self.client.clone(), &resource);
        Ok(serde_json::to_value(api.get(name).await?)?)
    }

    /// Sets an annotation of a ScaledObject; `None` removes it.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn annotate(&self, scaled_object: &str, annotation: &str, value: Option<&str>) -> Result<()> {
        let patch = json!({"metadata": {"annotations": {annotation: value}}});
        self.patch_scaled_object(scaled_object, &patch).await
    }

    /// Merges what is given into a ScaledObject.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn patch_scaled_object(&self, name: &str, patch: &Value) -> Result<()> {
        let objects: Api<ScaledObject> = Api::default_namespaced(self.client.clone());
        objects
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        Ok(())
    }

    /// Waits until a condition of an object has a status.
    ///
    /// # Errors
    /// When it has not in time; the message has its conditions.
    pub async fn condition(
        &self,
        api_version: &str,
        kind: &str,
        name: &str,
        condition: &str,
        status: &str,
    ) -> Result<()> {
        let mut last = Value::Null;
        let seen = wait::until("a condition is not as expected", PATIENCE, async || {
            let object = self.object(api_version, kind, name).await.ok()?;
            last = object["status"]["conditions"].clone();
            let mut conditions = last.as_array().into_iter().flatten();
            conditions
                .any(|one| one["type"] == condition && one["status"] == status)
                .then_some(())
        });
        seen.await
            .with_context(|| format!("{condition} of {kind} {name}: {last}"))
    }

    /// Waits for the condition `Ready` of the object as it is written now.
    ///
    /// # Errors
    /// When it is not ready in time; the message has its conditions.
    pub async fn ready(&self, api_version: &str, kind: &str, name: &str) -> Result<()> {
        let mut last = Value::Null;
        let ready = wait::until("it is not ready", PATIENCE, async || {
            let object = self.object(api_version, kind, name).await.ok()?;
            last = object["status"]["conditions"].clone();
            is_ready(&object).then_some(())
        });
        ready.await.with_context(|| format!("{kind} {name}: {last}"))
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
    /// When one of them does not tell.
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
    /// When it does not tell.
    pub async fn pending_at(&self, interceptor: &Pod, name: &str) -> Result<u64> {
        let status = interceptor.status.as_ref();
        let address = status
            .and_then(|status| status.pod_ip.as_ref())
            .context("a pod without address")?;
        let answer = caller::get(&format!("http://{address}:9090/queue"), "interceptor").await?;
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

    /// The demo app's Service here that leads nowhere by itself, for `trafficAutowire: service`.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn selectorless(&self, name: &str) -> Result<()> {
        self.apply(&format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{name: http, port: 8080}}]}}\n"
        ))
        .await
    }

    /// A ScaledObject with one `kedify-http` trigger with `trafficAutowire: service` for the app: its pods are behind
    /// `NAME`, callers use the Service `NAME-front`, whose URL this gives.
    ///
    /// # Errors
    /// When it is refused or not ready in time.
    pub async fn autowired(&self, name: &str, max: u32) -> Result<String> {
        self.autowired_from(name, 0, max, &[]).await
    }

    /// As [`Self::autowired`], with a minimum of replicas, and `more` keys of the trigger's metadata or others for those it has.
    ///
    /// # Errors
    /// When it is refused or not ready in time.
    pub async fn autowired_from(&self, name: &str, min: u32, max: u32, more: &[(&str, &str)]) -> Result<String> {
        self.selectorless(&format!("{name}-front")).await?;
        let mut settings = BTreeMap::from([
            ("scalingMetric", "requestRate"),
            ("targetValue", "1000"),
            ("granularity", "1s"),
            ("window", "2s"),
        ]);
        settings.extend(more.iter().copied());
        let mut metadata = String::new();
        for (key, value) in settings {
            writeln!(metadata, "        {key}: '{value}'")?;
        }
        let host = self.host(name);
        self.apply(&format!(
            "apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {{name: {name}}}
spec:
  scaleTargetRef: {{name: {name}}}
  minReplicaCount: {min}
  maxReplicaCount: {max}
  pollingInterval: 1
  cooldownPeriod: 1
  advanced:
    horizontalPodAutoscalerConfig:
      behavior: {{scaleDown: {{stabilizationWindowSeconds: 5}}}}
  triggers:
    - type: kedify-http
      metadata:
        hosts: {host}
        service: {name}-front
        fallbackService: {name}
        port: '8080'
        trafficAutowire: service
{metadata}"
        ))
        .await?;
        self.ready("keda.sh/v1alpha1", "ScaledObject", name).await?;
        let front = format!("{name}-front");
        self.wired(&front).await?;
        self.url(&front, 8080).await
    }

    /// Waits until a Service leads to the interceptors. Connections that were opened before stay where they are.
    ///
    /// # Errors
    /// When it does not in time.
    pub async fn wired(&self, service: &str) -> Result<()> {
        wait::until("the Service does not lead to the interceptors", PATIENCE, async || {
            let pods = self.cluster.system(INTERCEPTOR).pods().await.ok()?;
            let interceptors: Vec<_> = pods.into_iter().filter_map(|pod| pod.status?.pod_ip).collect();
            let endpoints = self.endpoints(service).await.ok()?;
            let all = endpoints.iter().all(|endpoint| interceptors.contains(endpoint));
            (all && !endpoints.is_empty()).then_some(())
        })
        .await
        .with_context(|| service.to_owned())
    }

    /// The addresses to which a Service leads, in order.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn endpoints(&self, service: &str) -> Result<Vec<String>> {
        let slices: Api<EndpointSlice> = Api::default_namespaced(self.client.clone());
        let of_service = ListParams::default().labels(&format!("kubernetes.io/service-name={service}"));
        let list = slices.list(&of_service).await?;
        let endpoints = list.items.into_iter().flat_map(|slice| slice.endpoints);
        let mut addresses: Vec<String> = endpoints.flat_map(|endpoint| endpoint.addresses).collect();
        addresses.sort();
        Ok(addresses)
    }
}

fn is_ready(object: &Value) -> bool {
    let generation = object["metadata"]["generation"].as_i64();
    let conditions = object["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|condition| {
        let observed = condition["observedGeneration"].as_i64();
        condition["type"] == "Ready" && condition["status"] == "True" && (observed.is_none() || observed == generation)
    })
}
