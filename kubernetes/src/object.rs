//! One object of any kind we read, and its identity.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;

use crate::resources::{HttpScaledObject, InterceptorRoute, ScaledObject};

/// The kinds that are read; every other kind in a manifest is passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `http.keda.sh/v1beta1`
    InterceptorRoute,
    /// `http.keda.sh/v1alpha1`
    HttpScaledObject,
    /// `keda.sh/v1alpha1`
    ScaledObject,
    /// `v1`
    Service,
    /// `discovery.k8s.io/v1`
    EndpointSlice,
    /// `apps/v1`; only `local` runs them.
    Deployment,
}

/// Which object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace; `default` where a manifest names none.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// An object.
#[derive(Debug, Clone)]
pub enum Object {
    /// A route of upstream's current kind.
    InterceptorRoute(Box<InterceptorRoute>),
    /// A route of upstream's former kind.
    HttpScaledObject(Box<HttpScaledObject>),
    /// KEDA's object; one with `kedify-http` triggers makes routes.
    ScaledObject(Box<ScaledObject>),
    /// A Service.
    Service(Box<Service>),
    /// Endpoints of a Service.
    EndpointSlice(Box<EndpointSlice>),
    /// A workload.
    Deployment(Box<Deployment>),
}

impl Object {
    /// Which object it is.
    pub fn id(&self) -> ObjectId {
        todo!()
    }
}
