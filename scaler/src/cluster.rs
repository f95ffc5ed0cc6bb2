//! The API server, and what is read from it.

use anyhow::Result;
use keda_http_kubernetes::source::cluster;
use kube::Client;

use crate::config::ClusterConfig;

/// Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    /// The client for the API server.
    pub client: Client,
    /// The namespace of the scaler and the interceptors.
    pub namespace: String,
    /// The only namespace whose objects are read; `None` reads all namespaces.
    pub watch_namespace: Option<String>,
}

impl Cluster {
    /// Finds the API server by the configuration of the pod or the kubeconfig. Sends nothing.
    ///
    /// # Errors
    /// When there is no such configuration, or it is not valid.
    pub async fn connect(config: &ClusterConfig) -> Result<Self> {
        let (client, own_namespace) = cluster::client().await?;
        Ok(Self {
            client,
            namespace: config.namespace.clone().unwrap_or(own_namespace),
            watch_namespace: config.watch_namespace.clone(),
        })
    }
}
