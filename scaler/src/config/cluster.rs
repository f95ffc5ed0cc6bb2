//! What is read of the API server.

use keda_http_runtime::env::Environment;

/// What is read of the API server. The way to it is kube's own affair: the service account of the pod, or `KUBECONFIG`.
#[derive(Debug, Clone, Default)]
pub struct ClusterConfig {
    /// `KEDA_HTTP_NAMESPACE`: the namespace of scaler and interceptors; without it that of the service account.
    pub namespace: Option<String>,
    /// `KEDA_HTTP_WATCH_NAMESPACE`: the only namespace that is read; without it all are.
    pub watch_namespace: Option<String>,
}

/// Every pod has the variable of the API server's own Service.
const IN_A_POD: &str = "KUBERNETES_SERVICE_HOST";

/// Whether the environment names an API server, be it asked for or not.
pub(super) fn is_named(environment: &Environment) -> bool {
    environment.get("KUBECONFIG").is_some() || environment.get(IN_A_POD).is_some()
}

impl ClusterConfig {
    pub(super) fn read(environment: &Environment) -> Self {
        Self {
            namespace: environment.get("KEDA_HTTP_NAMESPACE"),
            watch_namespace: environment.get("KEDA_HTTP_WATCH_NAMESPACE"),
        }
    }
}
