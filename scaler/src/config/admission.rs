//! The webhook and its objects in the cluster.

use std::net::{IpAddr, SocketAddr};

use keda_http_runtime::settings::{BOOLEAN, PORT, Settings, TEXT};

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
        let help = "Serve the webhook that converts kedify-http triggers into triggers that KEDA supports";
        let is_enabled = settings.variable("KEDA_HTTP_ADMISSION_ENABLED", &BOOLEAN, help);
        let is_enabled = is_enabled.default(false);
        let port = settings.variable("KEDA_HTTP_ADMISSION_PORT", &PORT, "Port of the webhook");
        let listen = SocketAddr::new(ip, port.default(9443));
        let name = |variable, help, default: &str| settings.variable(variable, &TEXT, help).default(default.to_owned());
        let help = "Name of the webhook's Service";
        let service = name("KEDA_HTTP_ADMISSION_SERVICE", help, "keda-add-ons-http-admission");
        let help = "Name of the Secret for the webhook's certificates";
        let secret = name("KEDA_HTTP_ADMISSION_SECRET", help, "keda-add-ons-http-admission-certs");
        let help = "Name of the MutatingWebhookConfiguration";
        let webhook = name("KEDA_HTTP_ADMISSION_WEBHOOK", help, "keda-add-ons-http-admission");
        is_enabled.then_some(Self {
            listen,
            service,
            secret,
            webhook,
        })
    }
}
