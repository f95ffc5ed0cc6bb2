//! What only one replica does, the one that holds the Lease. The data path and KEDA's calls never need it.

use std::sync::Arc;

use keda_http_kubernetes::source::Change;
use tokio::sync::mpsc;

/// What every controller works with. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    /// The way to the API server.
    pub client: kube::Client,
    /// The namespace of the scaler and the interceptors.
    pub namespace: String,
    /// `host:port` at which KEDA reaches the scaler: the `scalerAddress` that triggers are given.
    pub scaler_address: String,
}

/// What controllers are told of the objects: InterceptorRoutes, HTTPScaledObjects, ScaledObjects, and the Services and
/// EndpointSlices of namespaces that have routes.
#[derive(Clone)]
pub enum News {
    /// Objects are new, have changed, or are gone.
    Changed(Arc<[Change]>),
    /// All that was there at the beginning has been told: from now on what is not known does not exist.
    Complete,
}

/// Where a controller hears of objects; it ends when this replica is the leader no longer.
pub type NewsReceiver = mpsc::UnboundedReceiver<News>;
