//! The webhook and what it needs in the cluster.

use std::net::{IpAddr, SocketAddr};

use keda_http_runtime::env::{EnvError, Environment};

/// The webhook and what it needs in the cluster, in the scaler's own namespace.
#[derive(Debug, Clone)]
pub struct AdmissionConfig {
    /// Where the API server calls: the address of all ports and `KEDA_HTTP_ADMISSION_PORT` (9443).
    pub listen: SocketAddr,
    /// `KEDA_HTTP_ADMISSION_SERVICE`: the Service in front of the port; certificates are for its names.
    pub service: String,
    /// `KEDA_HTTP_ADMISSION_SECRET`: the Secret that the replicas keep the certificates in.
    pub secret: String,
    /// `KEDA_HTTP_ADMISSION_WEBHOOK`: the MutatingWebhookConfiguration that is given the CA.
    pub webhook: String,
}

impl AdmissionConfig {
    pub(super) fn read(environment: &Environment, ip: IpAddr) -> Result<Option<Self>, EnvError> {
        let enabled = environment.boolean("KEDA_HTTP_ADMISSION_ENABLED")?.unwrap_or(false);
        let port = environment.port("KEDA_HTTP_ADMISSION_PORT")?.unwrap_or(9443);
        let named = |name, default: &str| environment.get(name).unwrap_or_else(|| default.to_owned());
        let config = Self {
            listen: SocketAddr::new(ip, port),
            service: named("KEDA_HTTP_ADMISSION_SERVICE", "keda-add-ons-http-admission"),
            secret: named("KEDA_HTTP_ADMISSION_SECRET", "keda-add-ons-http-admission-certs"),
            webhook: named("KEDA_HTTP_ADMISSION_WEBHOOK", "keda-add-ons-http-admission"),
        };
        Ok(enabled.then_some(config))
    }
}
