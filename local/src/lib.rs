//! Plays Kubernetes and KEDA for processes on one machine, through the same interfaces as a cluster.
//!
//! Interceptor and scaler are the real programs and do not know the difference: they read a directory of manifests, and
//! the scaler is called as KEDA calls it.
//!
//! # Layout
//!
//! - [`cli`]: the command line.
//! - [`app`]: everything started together, and stopped in order.
//! - [`listening`]: the ports of a run.
//! - [`launches`]: how interceptor, scaler and apps are started.
//! - [`addresses`]: where things listen, and a request to try.
//! - [`demo`]: one cold and one warm request, and checks of answers, replicas and trace.
//! - [`manifests`]: the user's objects, checked before anything starts and at every change.
//! - [`workload`]: the part of a Deployment that is run here.
//! - [`run_directory`]: the directory that interceptor and scaler read.
//! - [`kubelet`]: a process for each replica; readiness probes; restarts.
//! - [`scale`]: the desired number of replicas of a Deployment.
//! - [`endpoint_slices`]: an EndpointSlice for each ready replica.
//! - [`keda`]: calls the scaler as KEDA does, and scales.
//! - [`program`]: interceptor and scaler, restarted when they die.
//! - [`process`]: a child process in a group of its own that does not outlive us.
//! - [`ports`]: free ports.
//! - [`traces`]: an OTLP receiver, and cold starts drawn as waterfalls.
//! - [`output`]: the terminal.
//! - [`restarts`]: how long a process that has ended by itself waits for its restart.

pub mod addresses;
pub mod app;
pub mod cli;
pub mod demo;
mod endpoint_slices;
pub mod keda;
pub mod kubelet;
mod launches;
pub mod listening;
mod manifests;
pub mod output;
mod ports;
mod process;
pub mod program;
mod restarts;
mod run_directory;
mod scale;
mod traces;
mod workload;

/// The identity of a namespaced object whose kind is known from the context.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Key {
    /// From both parts.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    /// The key of an object; the namespace is `default` where a manifest names none.
    pub fn from_metadata(metadata: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> Self {
        let namespace = metadata.namespace.as_deref().filter(|namespace| !namespace.is_empty());
        Self::new(
            namespace.unwrap_or("default"),
            metadata.name.as_deref().unwrap_or_default(),
        )
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
