//! `keda-http-scaler restore`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use keda_http_kubernetes::listeners::CONFIG_MAP;
use keda_http_kubernetes::wired::{FALLBACK_SERVICE, annotation};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout_at};

use super::snapshot::{self, Snapshot};
use crate::cluster::Cluster;
use crate::config::AutowireCommandConfig;
use crate::controllers::autowire::Impact;
use crate::controllers::autowire::restored::{self, Mode};
use crate::controllers::autowire::service::plan::{Planner, Write};
use crate::controllers::autowire::service::world::World;
use crate::controllers::autowire::service::write::Writer;

/// How long no Service may have to be corrected before the command ends: a leader that still runs reads the marker
/// within this time, and what it was writing meanwhile is seen.
const QUIET_TIME: Duration = Duration::from_secs(2);
/// The pause after a failed write.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// The longest time for the whole command.
const LIMIT: Duration = Duration::from_secs(60);

/// Points all Services back to the pods of their fallback Services, and returns a summary. The leader of the scaler
/// reads the marker in the ConfigMap of the listeners and then no longer points any to the interceptors.
///
/// # Errors
/// When the cluster cannot be read, or a Service could not be restored.
pub async fn restore(cluster: &Cluster, config: &AutowireCommandConfig) -> Result<String> {
    let installation = restored::installation(&cluster.client, &config.admin_service).await?;
    write_marker(cluster, &installation)
        .await
        .with_context(|| format!("ConfigMap {CONFIG_MAP}"))?;
    let mut snapshot = snapshot::read(cluster, config).await?;
    let limit = Instant::now() + LIMIT;
    while restore_services(cluster, config, &mut snapshot).await? || !is_quiet(&mut snapshot).await? {
        if Instant::now() > limit {
            bail!("another process keeps pointing Services to the interceptors; stop the scaler, then run this again");
        }
    }
    Ok(summary(&snapshot.world, &cluster.namespace))
}

async fn write_marker(cluster: &Cluster, installation: &str) -> Result<()> {
    let config_maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let annotations = BTreeMap::from([(restored::ANNOTATION.to_owned(), installation.to_owned())]);
    if config_maps.get_opt(CONFIG_MAP).await?.is_some() {
        let patch = Patch::Merge(json!({"metadata": {"annotations": annotations}}));
        config_maps.patch(CONFIG_MAP, &PatchParams::default(), &patch).await?;
        return Ok(());
    }
    let config_map = ConfigMap {
        metadata: ObjectMeta {
            name: Some(CONFIG_MAP.to_owned()),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        },
        ..ConfigMap::default()
    };
    config_maps.create(&PostParams::default(), &config_map).await?;
    Ok(())
}

/// Returns whether anything had to be written.
async fn restore_services(cluster: &Cluster, config: &AutowireCommandConfig, snapshot: &mut Snapshot) -> Result<bool> {
    let (world, now) = (&mut snapshot.world, Instant::now());
    let mut planner = Planner::without_debounce(config.autowire.ports.clone(), now);
    let mut writes = planner.plan(world, &snapshot.interceptors, Mode::Restored, now).writes;
    // The ports stay allocated, because nodes and clients may still send to them.
    writes.retain(|write| matches!(write, Write::Slice(..)));
    if writes.is_empty() {
        return Ok(false);
    }
    let writer = Writer {
        client: cluster.client.clone(),
        namespace: cluster.namespace.clone(),
    };
    let written = writer.write(writes, &world.allocations().clone(), true).await;
    world.apply_all(&written.changes);
    for error in &written.errors {
        tracing::warn!(%error, "cannot restore a Service; retrying");
    }
    if !written.errors.is_empty() {
        sleep(RETRY_PAUSE).await;
    }
    Ok(true)
}

/// Whether nothing relevant changes for [`QUIET_TIME`].
async fn is_quiet(snapshot: &mut Snapshot) -> Result<bool> {
    let end = Instant::now() + QUIET_TIME;
    loop {
        match timeout_at(end, snapshot.source.next()).await {
            Err(_) => return Ok(true),
            Ok(None) => bail!("the watch of the cluster ended"),
            Ok(Some(changes)) => {
                if snapshot.apply(&changes) > Impact::None {
                    return Ok(false);
                }
            }
        }
    }
}

fn summary(world: &World, namespace: &str) -> String {
    let mut text = String::new();
    for (key, slices) in world.own() {
        let endpoints: usize = slices.values().map(|slice| slice.endpoints.len()).sum();
        let fallback = slices
            .values()
            .find_map(|slice| annotation(slice, FALLBACK_SERVICE))
            .unwrap_or("?");
        let (namespace, name) = (&key.namespace, &key.name);
        let _ = writeln!(
            text,
            "Service {namespace}/{name} points to the pods of {fallback}: {endpoints} endpoints"
        );
    }
    if text.is_empty() {
        text.push_str("No Service is autowired.\n");
    } else {
        text.push_str(
            "Without the scaler these endpoints are no longer updated. Before the pods change, give each Service the \
             selector of its fallbackService.\n",
        );
    }
    let _ = writeln!(
        text,
        "To autowire again with this installation, run: kubectl annotate -n {namespace} configmap {CONFIG_MAP} {}-",
        restored::ANNOTATION
    );
    text
}
