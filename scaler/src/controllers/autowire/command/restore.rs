//! `keda-http-scaler restore`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use keda_http_kubernetes::listeners::CONFIG_MAP;
use keda_http_kubernetes::wired::{FALLBACK_SERVICE, annotation};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::warn;

use super::reading::{Cluster, Reading};
use crate::config::AutowireCommandConfig;
use crate::controllers::autowire::restored;
use crate::controllers::autowire::service::health::DataPath;
use crate::controllers::autowire::service::plan::{Mode, Planner, Write};
use crate::controllers::autowire::service::world::{RESTORED, Touched, World};
use crate::controllers::autowire::service::write::Writer;

/// For how long nothing may have to be put right again: a leader that still runs learns of the mark within this time, and
/// what it was writing meanwhile is seen.
const QUIET: Duration = Duration::from_secs(2);
/// How soon writes that have failed are tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// After this long it is given up.
const LIMIT: Duration = Duration::from_secs(60);

/// Leads all Services back to the pods of their fallback Services, and says so in words. Whoever leads the scaler learns of
/// it by the mark in the ConfigMap of the listeners, and leads none to the interceptors any more.
///
/// # Errors
/// When the cluster cannot be read, or some Service could not be given back.
pub async fn restore(cluster: &Cluster, config: &AutowireCommandConfig) -> Result<String> {
    let installation = restored::installation(&cluster.client, &config.admin_service).await?;
    mark(cluster, &installation)
        .await
        .with_context(|| format!("ConfigMap {CONFIG_MAP}"))?;
    let interceptors = cluster.interceptors(config).await?;
    let mut reading = cluster.read().await?;
    let limit = Instant::now() + LIMIT;
    while give_back(cluster, config, &mut reading.world, &interceptors).await? || !quiet(&mut reading).await? {
        if Instant::now() > limit {
            bail!(
                "somebody leads Services to the interceptors again and again; stop the scaler, then run this once more"
            );
        }
    }
    Ok(told(&reading.world, &cluster.namespace))
}

/// Says that all Services have been given back, for all to see who might lead them elsewhere.
async fn mark(cluster: &Cluster, installation: &str) -> Result<()> {
    let config_maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let annotations = BTreeMap::from([(RESTORED.to_owned(), installation.to_owned())]);
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

/// Writes what is not as it should be; `true` when there was something.
async fn give_back(
    cluster: &Cluster,
    config: &AutowireCommandConfig,
    world: &mut World,
    interceptors: &DataPath,
) -> Result<bool> {
    let now = Instant::now();
    let mut planner = Planner::of_the_moment(config.autowire.ports.clone(), now);
    let mut writes = planner.plan(world, interceptors, Mode::Restored, now).writes;
    // The ports stay given out as long as nodes and clients may still send there.
    writes.retain(|write| matches!(write, Write::Slice(..)));
    if writes.is_empty() {
        return Ok(false);
    }
    let writer = Writer {
        client: cluster.client.clone(),
        namespace: cluster.namespace.clone(),
    };
    let written = writer.write(writes, &world.listeners().clone(), true).await;
    for change in &written.changes {
        world.apply(change);
    }
    if !written.errors.is_empty() {
        for error in &written.errors {
            warn!(%error, "cannot be given back, and is tried again");
        }
        sleep(AGAIN).await;
    }
    Ok(true)
}

/// Whether nothing that matters happens for a while.
async fn quiet(reading: &mut Reading) -> Result<bool> {
    let end = Instant::now() + QUIET;
    loop {
        match timeout_at(end, reading.source.next()).await {
            Err(_) => return Ok(true),
            Ok(None) => bail!("the cluster can no longer be watched"),
            Ok(Some(changes)) => {
                let touched = changes.iter().map(|change| reading.world.apply(change)).max();
                if touched.is_some_and(|touched| touched > Touched::Nothing) {
                    return Ok(false);
                }
            }
        }
    }
}

/// What stands now, and what people must know of it.
fn told(world: &World, namespace: &str) -> String {
    let mut text = String::new();
    for (key, slices) in world.own() {
        let endpoints: usize = slices.values().map(|slice: &EndpointSlice| slice.endpoints.len()).sum();
        let fallback = slices
            .values()
            .find_map(|slice| annotation(slice, FALLBACK_SERVICE))
            .unwrap_or("?");
        let (namespace, name) = (&key.namespace, &key.name);
        let _ = writeln!(
            text,
            "Service {namespace}/{name} leads to the pods of {fallback}: {endpoints} endpoints"
        );
    }
    if text.is_empty() {
        text.push_str("No Service is autowired.\n");
    } else {
        text.push_str(
            "Without the scaler nobody follows these pods: before they change, give each Service the selector of its \
             fallbackService.\n",
        );
    }
    let _ = writeln!(
        text,
        "To autowire again with this installation: kubectl annotate -n {namespace} configmap {CONFIG_MAP} {RESTORED}-"
    );
    text
}
