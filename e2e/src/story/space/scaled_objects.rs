//! ScaledObjects.

use std::ops::RangeInclusive;

use anyhow::Result;
use keda_http_kubernetes::resources::ScaledObject;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

use super::Space;
use crate::story::cluster::{SCALER, Workload};

impl Space {
    /// A ScaledObject with upstream's trigger for an InterceptorRoute: the Deployment, the route and it have one name. It
    /// scales to zero as quickly as KEDA can.
    ///
    /// # Errors
    /// When it is refused or not ready in time.
    pub async fn scaled(&self, name: &str, max: u32) -> Result<Workload> {
        self.pushed(name, max, &format!("interceptorRoute: {name}")).await
    }

    /// As [`Self::scaled`], with a trigger that names its route by `key`.
    ///
    /// # Errors
    /// When it is refused or not ready in time.
    pub async fn pushed(&self, name: &str, max: u32, key: &str) -> Result<Workload> {
        let keda = &self.cluster.keda;
        let trigger = format!(
            "    - type: external-push
      metadata: {{scalerAddress: '{SCALER}.{keda}:9090', {key}}}
"
        );
        self.triggered(name, 0..=max, &trigger).await
    }

    /// A ScaledObject for the Deployment of its name, with any `triggers`, each line of them indented by four spaces. It
    /// scales down as quickly as KEDA can.
    ///
    /// # Errors
    /// When it is refused or not ready in time.
    pub async fn triggered(&self, name: &str, replicas: RangeInclusive<u32>, triggers: &str) -> Result<Workload> {
        let (min, max) = replicas.into_inner();
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
{triggers}"
        ))
        .await?;
        self.ready("keda.sh/v1alpha1", "ScaledObject", name).await?;
        Ok(self.workload(name))
    }

    /// Where ScaledObjects of this namespace are read.
    pub fn scaled_objects(&self) -> Api<ScaledObject> {
        Api::default_namespaced(self.client.clone())
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
        self.scaled_objects()
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        Ok(())
    }
}
