//! The port of the admission webhook, and its two tasks.

use anyhow::{Context as _, Result};
use keda_http_runtime::readiness::Readiness;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::admission;
use crate::admission::certificates::{self, Names, Serving};
use crate::config::AdmissionConfig;
use crate::controllers::context::Context;

pub(super) struct Webhook {
    context: Context,
    names: Names,
    listener: TcpListener,
}

impl Webhook {
    pub(super) async fn bind(config: AdmissionConfig, context: Context) -> Result<Self> {
        let listener = TcpListener::bind(config.listen).await;
        Ok(Self {
            listener: listener.with_context(|| format!("cannot listen for admission reviews on {}", config.listen))?,
            names: Names {
                namespace: context.namespace.clone(),
                service: config.service,
                secret: config.secret,
                webhook: config.webhook,
            },
            context,
        })
    }

    /// Serves the webhook, and maintains its certificates.
    pub(super) fn start(self, tasks: &mut JoinSet<Result<()>>, readiness: &Readiness, stop: &CancellationToken) {
        let serving = Serving::default();
        let Context {
            client, scaler_address, ..
        } = self.context;
        let (readiness, ending) = (readiness.clone(), stop.clone());
        let keeping = certificates::maintain(client, self.names, serving.clone(), readiness, ending);
        tasks.spawn(async {
            keeping.await;
            Ok(())
        });
        tasks.spawn(admission::serve(self.listener, serving, scaler_address, stop.clone()));
    }
}
