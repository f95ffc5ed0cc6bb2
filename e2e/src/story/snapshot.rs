//! Interceptor and scaler as they were before a story that changes them, for what one that fails halfway leaves behind.

use anyhow::{Context, Result};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use super::cluster::{Cluster, INTERCEPTOR, SCALER};

/// What was there.
#[derive(Clone)]
pub struct Snapshot {
    deployments: Vec<(&'static str, Deployment)>,
}

impl Snapshot {
    /// Of now.
    ///
    /// # Errors
    /// When a Deployment cannot be read.
    pub async fn take(cluster: &Cluster) -> Result<Self> {
        let mut deployments = Vec::new();
        for name in [INTERCEPTOR, SCALER] {
            let deployment = api(cluster).get(name).await.context(name)?;
            deployments.push((name, deployment));
        }
        Ok(Self { deployments })
    }

    /// Puts it back, and waits until everything is whole again. What is as it was does not change.
    ///
    /// # Errors
    /// When it is refused, or not whole in time.
    pub async fn restore(&self, cluster: &Cluster) -> Result<()> {
        // Where KEDA does not scale the interceptor, nothing was paused.
        cluster.pause_interceptor(None).await.ok();
        for (name, deployment) in &self.deployments {
            let spec = deployment.spec.as_ref().context("a spec")?;
            // Lists are replaced as a whole, so variables that were added go.
            let patch = json!({"spec": {"replicas": spec.replicas, "template": spec.template}});
            api(cluster)
                .patch(name, &PatchParams::default(), &Patch::Merge(patch))
                .await
                .context(*name)?;
        }
        cluster.whole().await
    }
}

fn api(cluster: &Cluster) -> Api<Deployment> {
    Api::namespaced(cluster.client.clone(), &cluster.keda)
}
