//! What a run has changed and not restored yet, so that an interrupted run can restore it.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::future::try_join_all;
use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::api::{Api, DeleteParams};
use parking_lot::Mutex;

use super::cluster::{Cluster, then_put_back};
use super::snapshot::Snapshot;
use crate::wait;

/// How long it may take to restore interceptor and scaler, and then to delete the namespaces.
const LIMIT: Duration = Duration::from_secs(120);

/// What has to be restored.
#[derive(Default)]
pub struct UnderWay {
    namespaces: Mutex<BTreeSet<String>>,
    before: Mutex<Option<Snapshot>>,
}

impl UnderWay {
    /// Notes a namespace before it is created.
    pub fn began(&self, namespace: &str) {
        self.namespaces.lock().insert(namespace.to_owned());
    }

    /// Notes that a namespace is gone.
    pub fn ended(&self, namespace: &str) {
        self.namespaces.lock().remove(namespace);
    }

    /// Notes the state that interceptor and scaler must get back; `None` once they have it.
    pub fn changes(&self, before: Option<Snapshot>) {
        *self.before.lock() = before;
    }

    /// Restores interceptor and scaler, deletes the namespaces, and logs both. The stories must have been dropped before.
    ///
    /// # Errors
    /// When it takes longer than the limits.
    pub async fn put_back(&self, cluster: &Cluster) -> Result<()> {
        let (before, namespaces) = (self.before.lock().clone(), self.namespaces.lock().clone());
        then_put_back(
            Box::pin(restore(before, cluster)),
            Box::pin(delete(&namespaces, &cluster.client)),
        )
        .await
    }
}

async fn restore(before: Option<Snapshot>, cluster: &Cluster) -> Result<()> {
    let Some(before) = before else { return Ok(()) };
    eprintln!("    interceptor and scaler are restored");
    let mut last = None;
    // An API server that was stopped a moment ago may refuse the first calls.
    let restored = wait::until("it cannot be done", LIMIT, async || {
        let restored = before.restore(cluster).await;
        restored.map_err(|error| last = Some(error)).ok()
    });
    let restored = restored.await;
    let why = last.map(|error| format!(": {error:#}")).unwrap_or_default();
    restored.with_context(|| format!("interceptor and scaler are not as they were{why}"))
}

async fn delete(names: &BTreeSet<String>, client: &Client) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let all = names.iter().map(async |name| {
        eprintln!("    namespace {name} is deleted");
        let gone = wait::until("it is not gone", LIMIT, async || {
            namespaces.delete(name, &DeleteParams::default()).await.ok();
            namespaces.get_opt(name).await.ok()?.is_none().then_some(())
        });
        gone.await.with_context(|| format!("namespace {name}"))
    });
    try_join_all(all).await?;
    Ok(())
}
