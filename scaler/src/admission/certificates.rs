//! The webhook's certificates: made by the scaler itself, kept in a Secret that all replicas share, renewed in time, and
//! their authority told to the API server.
//!
//! Every replica does all of it. Writes go to the version that was read, so replicas that start together agree on what
//! the first one has written.

mod authority;
mod bundle;
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
use tracing::warn;

use bundle::Bundle;
use secret::Store;
use webhook::Webhook;

/// How often Secret and webhook are looked at: somebody may have taken the authority out of the webhook, and
/// certificates age.
const LOOK_EVERY: Duration = Duration::from_secs(20);
const PROBLEM: &str = "certificates of admission";

/// What the webhook serves with; cheap to clone.
#[derive(Clone, Default)]
pub struct Serving {
    config: watch::Sender<Option<Arc<ServerConfig>>>,
}

impl Serving {
    /// The newest certificate; `None` before there is one.
    pub fn current(&self) -> Option<Arc<ServerConfig>> {
        self.config.borrow().clone()
    }

    /// Serves with this from now on.
    ///
    /// # Errors
    /// When certificate and key do not belong together.
    fn set(&self, bundle: &Bundle) -> Result<()> {
        let config = bundle.server_config()?;
        self.config.send_replace(Some(Arc::new(config)));
        Ok(())
    }
}

/// Where the certificates belong.
#[derive(Debug, Clone)]
pub struct Names {
    /// The scaler's namespace.
    pub namespace: String,
    /// The Service of the webhook: the certificates are for its names.
    pub service: String,
    /// The Secret that keeps them.
    pub secret: String,
    /// The MutatingWebhookConfiguration that is told the authority.
    pub webhook: String,
}

impl Names {
    /// The names under which the API server may call the Service.
    fn hosts(&self) -> Vec<String> {
        let Self { namespace, service, .. } = self;
        vec![
            format!("{service}.{namespace}.svc"),
            format!("{service}.{namespace}"),
            service.clone(),
        ]
    }
}

/// Keeps the certificates until `stop`; `first` is done when there is one to serve with.
pub async fn keep(
    client: Client,
    names: Names,
    serving: Serving,
    readiness: Readiness,
    first: PendingTask,
    stop: CancellationToken,
) {
    let store = Store::new(&client, &names);
    let webhook = Webhook::new(&client, &names);
    let mut first = Some(first);
    let mut served: Option<Bundle> = None;
    let keeping = async {
        loop {
            match look(&store, &webhook, &serving, &mut served).await {
                Ok(()) => {
                    first.take();
                    readiness.set_problems(PROBLEM, Vec::new());
                }
                Err(error) => {
                    warn!(
                        error = format!("{error:#}"),
                        "the certificates of admission are not in order"
                    );
                    readiness.set_problems(PROBLEM, vec![format!("{error:#}")]);
                }
            }
            sleep(if served.is_some() { LOOK_EVERY } else { LOOK_EVERY / 20 }).await;
        }
    };
    stop.run_until_cancelled(keeping).await;
}

/// One look: a bundle that is there and young enough, served, and told to the API server.
async fn look(store: &Store, webhook: &Webhook, serving: &Serving, served: &mut Option<Bundle>) -> Result<()> {
    let bundle = store.current(jiff::Timestamp::now()).await.context("Secret")?;
    if served.as_ref() != Some(&bundle) {
        serving.set(&bundle)?;
        *served = Some(bundle.clone());
    }
    webhook
        .trust(&bundle.authorities)
        .await
        .context("webhook configuration")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Something to serve with, and who is to be trusted for it.
    pub(crate) fn serving(host: &str) -> (Serving, String) {
        keda_http_runtime::install_crypto_provider();
        let bundle = Bundle::new(vec![host.to_owned()], jiff::Timestamp::now()).unwrap();
        let serving = Serving::default();
        serving.set(&bundle).unwrap();
        (serving, bundle.authorities)
    }
}
