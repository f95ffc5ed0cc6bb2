//! What is read from the API server.

use keda_http_runtime::settings::{DNS_LABEL, Settings, TEXT};

/// What is read from the API server. How it is reached is up to kube: by the pod's service account, or `KUBECONFIG`.
#[derive(Debug, Clone, Default)]
pub struct ClusterConfig {
    /// The namespace of scaler and interceptors; `None` is that of the service account.
    pub namespace: Option<String>,
    /// The only namespace that is read; `None` is all of them.
    pub watch_namespace: Option<String>,
}

impl ClusterConfig {
    /// The settings, and whether the environment names an API server.
    pub(super) fn read(settings: &Settings) -> (Self, bool) {
        let help = "File that says how to reach the API server from outside the cluster";
        let kubeconfig = settings.variable("KUBECONFIG", &TEXT, help);
        let kubeconfig = kubeconfig.optional("not set: the pod's service account");
        let help = "Address of the API server; Kubernetes sets it in every pod";
        let host = settings.variable("KUBERNETES_SERVICE_HOST", &TEXT, help);
        let host = host.optional("not set: the scaler is not in a pod");
        let help = "Namespace of the scaler and the interceptors";
        let namespace = settings.variable("KEDA_HTTP_NAMESPACE", &DNS_LABEL, help);
        let namespace = namespace.optional("that of the service account");
        let help = "The only namespace whose objects are read";
        let watch_namespace = settings.variable("KEDA_HTTP_WATCH_NAMESPACE", &DNS_LABEL, help);
        let config = Self {
            namespace,
            watch_namespace: watch_namespace.optional("not set: all namespaces"),
        };
        (config, kubeconfig.is_some() || host.is_some())
    }
}
