//! The client of the API server.

use std::time::Duration;

use kube::{Client, Config};

/// For a connection to the API server: it is near, or away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Neither inside a cluster nor given a kubeconfig.
    #[error("there is no cluster to read from: neither a service account of a pod nor a kubeconfig was found ({0})")]
    NoCluster(#[from] kube::config::InferConfigError),
    /// The kubeconfig cannot be used.
    #[error("the API server cannot be spoken to: {0}")]
    Unusable(#[from] kube::Error),
}

/// A client by the service account of the pod, or by `KUBECONFIG`, and the namespace it belongs to. Watches find dead
/// connections by themselves.
///
/// # Errors
/// When neither is there, or cannot be used.
pub async fn client() -> Result<(Client, String), ClientError> {
    let mut config = Config::infer().await?;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    let namespace = config.default_namespace.clone();
    Ok((Client::try_from(config)?, namespace))
}
