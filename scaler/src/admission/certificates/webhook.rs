//! The API server's trust in us: `caBundle` of the MutatingWebhookConfiguration.

use anyhow::Result;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use tracing::info;

use super::Names;

/// The configuration.
pub struct Webhook {
    configurations: Api<MutatingWebhookConfiguration>,
    name: String,
}

impl Webhook {
    /// By its name.
    pub fn new(client: &Client, names: &Names) -> Self {
        Self {
            configurations: Api::all(client.clone()),
            name: names.webhook.clone(),
        }
    }

    /// Sets the authorities where they are not yet. Without a configuration there is nothing to do: somebody may have
    /// switched the webhook off.
    pub async fn trust(&self, authorities: &str) -> Result<()> {
        let Some(configuration) = self.configurations.get_opt(&self.name).await? else {
            return Ok(());
        };
        let wanted = ByteString(authorities.as_bytes().to_vec());
        let webhooks = configuration.webhooks.unwrap_or_default();
        let stale = webhooks
            .iter()
            .enumerate()
            .filter(|(_, webhook)| webhook.client_config.ca_bundle.as_ref() != Some(&wanted));
        let operations: Vec<_> = stale
            .flat_map(|(index, webhook)| {
                let path = format!("/webhooks/{index}");
                [
                    json!({"op": "test", "path": format!("{path}/name"), "value": webhook.name}),
                    json!({"op": "add", "path": format!("{path}/clientConfig/caBundle"), "value": wanted}),
                ]
            })
            .collect();
        if operations.is_empty() {
            return Ok(());
        }
        let patch = serde_json::to_vec(&operations)?;
        let patch: Patch<MutatingWebhookConfiguration> = Patch::Json(serde_json::from_slice(&patch)?);
        self.configurations
            .patch(&self.name, &PatchParams::default(), &patch)
            .await?;
        info!(webhook = self.name, "the API server is told the authority of admission");
        Ok(())
    }
}
