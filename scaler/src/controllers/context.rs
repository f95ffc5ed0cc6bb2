//! What a controller is given: its surroundings, the updates of objects, and the state of the interceptors.

use std::sync::Arc;

use keda_http_kubernetes::source::Change;
use tokio::sync::{mpsc, watch};

use crate::config::AdminService;
use crate::interceptors::open_ports::OpenPortsByInterceptor;
use crate::interceptors::slices::Pod;

/// What every controller works with. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    /// The client for the API server.
    pub client: kube::Client,
    /// The namespace of the scaler and the interceptors.
    pub namespace: String,
    /// `host:port` at which KEDA reaches the scaler: the `scalerAddress` that triggers are given.
    pub scaler_address: String,
}

/// An update of the objects that controllers follow: InterceptorRoutes, HTTPScaledObjects, ScaledObjects, the Services
/// of namespaces that have routes and, for autowire, their EndpointSlices.
#[derive(Clone)]
pub enum Update {
    /// Objects were added, changed or deleted.
    Changed(Arc<[Change]>),
    /// The initial state has been delivered: from now on an object that is not known does not exist.
    Complete,
}

/// Where a controller receives updates. It is closed when this replica stops being the leader.
pub type Updates = mpsc::UnboundedReceiver<Update>;

/// The live state of the interceptors, by which autowire decides. Cheap to clone.
#[derive(Clone)]
pub struct InterceptorView {
    /// The Service by which interceptors are discovered.
    pub service: AdminService,
    /// Their pods, with addresses and readiness.
    pub pods: watch::Receiver<Arc<[Pod]>>,
    /// The ports on which they accept the traffic of autowired Services.
    pub open_ports: watch::Receiver<OpenPortsByInterceptor>,
}
