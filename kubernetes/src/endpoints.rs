//! Services and EndpointSlices to ready endpoints per service port: a pure fold.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use keda_http_core::route::ServiceRef;

use crate::source::Change;

/// A Service.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceKey {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// How a Service port speaks, by its `appProtocol`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AppProtocol {
    /// HTTP/1.1, where nothing else is said.
    #[default]
    Http1,
    /// `kubernetes.io/h2c`: HTTP/2 with prior knowledge.
    H2c,
}

/// Where requests for a service port can be sent now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Endpoints {
    /// The addresses of ready pods, in a stable order, without repetition, one address for each endpoint.
    pub ready: Vec<SocketAddr>,
    /// How they speak.
    pub protocol: AppProtocol,
}

/// Why a service port has no endpoints at all. The route stands and its requests are held; this is told to people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointsError {
    /// No such Service.
    #[error("there is no Service {namespace}/{name}")]
    NoService {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// The Service has no such port.
    #[error("Service {namespace}/{name} has no port {port}; it has {ports}")]
    NoPort {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// What was asked for.
        port: String,
        /// What it has.
        ports: String,
    },
}

/// The fold.
#[derive(Debug, Default)]
pub struct EndpointIndex {}

impl EndpointIndex {
    /// Takes a change in and says which Services it touched.
    pub fn apply(&mut self, change: &Change) -> BTreeSet<ServiceKey> {
        let _ = change;
        todo!()
    }

    /// The endpoints of a service port. A Service without ready endpoints is `Ok` with an empty list.
    pub fn endpoints(&self, service: &ServiceRef) -> Result<Endpoints, EndpointsError> {
        let _ = service;
        todo!()
    }
}
