//! The webhook and its objects in the cluster.

use std::net::{IpAddr, SocketAddr};

use keda_http_runtime::settings::{BOOLEAN, PORT, Settings};

use super::name;

/// The webhook and its objects in the scaler's own namespace.
#[derive(Debug, Clone)]
pub struct AdmissionConfig {
    /// Where the API server calls.
    pub listen: SocketAddr,
    /// The Service in front of the port; certificates are for its names.
    pub service: String,
    /// The Secret in which the replicas keep the certificates.
    pub secret: String,
    /// The MutatingWebhookConfiguration that is given the CA bundle.
    pub webhook: String,
}

impl AdmissionConfig {
    pub(super) fn read(settings: &Settings, ip: IpAddr) -> Option<Self> {
        let is_enabled = settings
            .variable(
                "KEDA_HTTP_ADMISSION_ENABLED",
                &BOOLEAN,
                "Serve the webhook that turns kedify-http triggers into what KEDA knows",
            )
            .default(false);
        let port = settings.variable("KEDA_HTTP_ADMISSION_PORT", &PORT, "Port of the webhook");
        let config = Self {
            listen: SocketAddr::new(ip, port.default(9443)),
            service: name(
                settings,
                "KEDA_HTTP_ADMISSION_SERVICE",
                "keda-add-ons-http-admission",
                "Name of the webhook's Service",
            ),
            secret: name(
                settings,
                "KEDA_HTTP_ADMISSION_SECRET",
                "keda-add-ons-http-admission-certs",
                "Name of the Secret for the webhook's certificates",
            ),
            webhook: name(
                settings,
                "KEDA_HTTP_ADMISSION_WEBHOOK",
                "keda-add-ons-http-admission",
                "Name of the MutatingWebhookConfiguration",
            ),
        };
        is_enabled.then_some(config)
    }
}
