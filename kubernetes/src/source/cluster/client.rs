//! The client of the API server.

use kube::client::ConfigExt;
use kube::{Client, Config};
use tower::ServiceBuilder;

use super::connections::Connections;

/// Why no client could be created.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Neither inside a cluster nor given a kubeconfig. The text has what was tried, so it is not a source as well.
    #[error("no cluster found: there is neither a pod's service account nor a kubeconfig ({0})")]
    NoCluster(String),
    /// The kubeconfig cannot be used.
    #[error("cannot create a client for the API server: {0}")]
    Unusable(#[from] kube::Error),
}

/// A client by the service account of the pod, or by `KUBECONFIG`, and the namespace it belongs to.
///
/// It uses HTTP/2 where the API server does, finds dead connections within 20 s, and reports failures at once: kube's
/// own would silently retry a request that is answered with 429, 503 or 504 for minutes.
///
/// # Errors
/// When neither is there, or cannot be used.
pub async fn client() -> Result<(Client, String), ClientError> {
    let config = Config::infer().await;
    let config = config.map_err(|error| ClientError::NoCluster(error.to_string()))?;
    let namespace = config.default_namespace.clone();
    Ok((client_with(config)?, namespace))
}

/// The same by a configuration.
///
/// # Errors
/// When it cannot be used.
pub fn client_with(config: Config) -> Result<Client, kube::Error> {
    if config.proxy_url.is_some() {
        return Client::try_from(config); // which knows proxies, or says that it does not
    }
    let connections = Connections::new(&config)?;
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(tower::BoxError::from)
        .service_fn(move |request| connections.send(request));
    Ok(Client::new(service, config.default_namespace))
}
