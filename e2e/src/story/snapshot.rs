//! The state of interceptor and scaler before a story that changes them, to restore it when the story fails halfway.

use anyhow::{Context, Result};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use super::cluster::{Cluster, INTERCEPTOR, SCALER};

/// The pod templates and replicas of both.
#[derive(Clone)]
pub struct Snapshot {
    deployments: Vec<(&'static str, Deployment)>,
}

impl Snapshot {
    /// Reads the present state.
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

    /// Restores it, and waits until everything is ready again. Deployments that have not changed are not written.
    ///
    /// # Errors
    /// When a write is refused, or something does not become ready in time.
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
