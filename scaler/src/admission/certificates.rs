//! The webhook's certificates: the scaler creates them with a CA of its own, keeps them in a Secret that all replicas
//! share, renews them in time, and writes the CA bundle into the webhook configuration.
//!
//! Every replica does all of it. A write is refused when another replica was first, so replicas that start together
//! agree on one certificate.

mod bundle;
mod ca;
mod secret;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use keda_http_runtime::readiness::{PendingTask, Readiness};
use kube::Client;
use rustls::ServerConfig;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use bundle::Certificates;

/// How often Secret and webhook configuration are checked: another tool may have removed the CA bundle, and
/// certificates expire. A watch would need more rights and a timer all the same.
const CHECK_EVERY: Duration = Duration::from_secs(20);
const PROBLEM: &str = "certificates of the admission webhook";

/// The TLS configuration that the webhook serves with; cheap to clone.
#[derive(Clone, Default)]
pub struct Serving {
    config: watch::Sender<Option<Arc<ServerConfig>>>,
}

impl Serving {
    /// The newest configuration; `None` before there is a certificate.
    pub(crate) fn current(&self) -> Option<Arc<ServerConfig>> {
        self.config.borrow().clone()
    }

    /// Fails when certificate and key do not match.
    fn set(&self, certificates: &Certificates) -> Result<()> {
        let config = certificates.server_config()?;
        self.config.send_replace(Some(Arc::new(config)));
        Ok(())
    }
}

/// The names of the objects that the certificates are for.
#[derive(Debug, Clone)]
pub struct Names {
    /// The scaler's namespace.
    pub namespace: String,
    /// The Service of the webhook; the certificates are for its DNS names.
    pub service: String,
    /// The Secret that has the certificates.
    pub secret: String,
    /// The MutatingWebhookConfiguration that gets the CA bundle.
    pub webhook: String,
}

impl Names {
    /// The DNS names under which the API server may call the Service.
    fn hosts(&self) -> Vec<String> {
        let Self { namespace, service, .. } = self;
        vec![
            format!("{service}.{namespace}.svc"),
            format!("{service}.{namespace}"),
            service.clone(),
        ]
    }
}

/// Keeps the certificates valid until `stop`. Not ready until there is one to serve with: from the call on, not only
/// from when the future is first polled.
pub fn maintain(
    client: Client,
    names: Names,
    serving: Serving,
    readiness: Readiness,
    stop: CancellationToken,
) -> impl Future<Output = ()> {
    let first = readiness.register("certificate of the admission webhook");
    async move {
        let maintaining = check_regularly(&client, &names, &serving, &readiness, first);
        stop.run_until_cancelled(maintaining).await;
    }
}

async fn check_regularly(client: &Client, names: &Names, serving: &Serving, readiness: &Readiness, first: PendingTask) {
    let mut first = Some(first);
    let mut served: Option<Certificates> = None;
    loop {
        match check(client, names, serving, &mut served).await {
            Ok(()) => {
                first.take();
                readiness.set_problems(PROBLEM, Vec::new());
            }
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(error, "cannot maintain the certificates of the admission webhook");
                readiness.set_problems(PROBLEM, vec![error]);
            }
        }
        let soon = served.is_none();
        sleep(if soon { CHECK_EVERY / 20 } else { CHECK_EVERY }).await;
    }
}

/// Makes sure that a valid certificate exists, is served, and is trusted by the API server.
async fn check(client: &Client, names: &Names, serving: &Serving, served: &mut Option<Certificates>) -> Result<()> {
    let bundle = secret::load_or_renew(client, names, jiff::Timestamp::now()).await;
    let bundle = bundle.context("Secret")?;
    if served.as_ref() != Some(&bundle) {
        serving.set(&bundle)?;
        *served = Some(bundle.clone());
    }
    let written = webhook::set_ca_bundle(client, &names.webhook, &bundle.ca_bundle).await;
    written.context("webhook configuration")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A configuration to serve with, and the CA bundle to trust.
    pub(crate) fn serving(host: &str) -> (Serving, String) {
        keda_http_runtime::install_crypto_provider();
        let bundle = Certificates::new(vec![host.to_owned()], jiff::Timestamp::now()).unwrap();
        let serving = Serving::default();
        serving.set(&bundle).unwrap();
        (serving, bundle.ca_bundle)
    }

    #[tokio::test]
    async fn the_scaler_is_not_ready_before_the_task_that_maintains_its_certificate_runs() {
        keda_http_runtime::install_crypto_provider();
        let client = Client::try_from(kube::Config::new("http://127.0.0.1:9".parse().unwrap())).unwrap();
        let names = Names {
            namespace: "keda".to_owned(),
            service: "webhook".to_owned(),
            secret: "webhook".to_owned(),
            webhook: "webhook".to_owned(),
        };
        let readiness = Readiness::new();
        let maintaining = maintain(
            client,
            names,
            Serving::default(),
            readiness.clone(),
            CancellationToken::new(),
        );
        assert!(!*readiness.subscribe().borrow());
        drop(maintaining);
    }
}
