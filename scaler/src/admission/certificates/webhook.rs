//! The `caBundle` of the MutatingWebhookConfiguration, by which the API server trusts the webhook.

use anyhow::Result;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

/// Sets the CA bundle of all webhooks of the configuration. Does nothing when the configuration does not exist: the
/// webhook may be disabled.
pub(super) async fn set_ca_bundle(client: &Client, name: &str, ca_bundle: &str) -> Result<()> {
    let configurations: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let Some(configuration) = configurations.get_opt(name).await? else {
        return Ok(());
    };
    let wanted = ByteString(ca_bundle.as_bytes().to_vec());
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
    configurations.patch(name, &PatchParams::default(), &patch).await?;
    tracing::info!(webhook = name, "updated caBundle of the webhook");
    Ok(())
}
