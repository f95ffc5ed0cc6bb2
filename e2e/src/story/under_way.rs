//! What a run has changed that is not put back yet, for one that is interrupted.

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

/// How long putting back interceptor and scaler may take, and then that the namespaces go.
const LIMIT: Duration = Duration::from_secs(120);

/// What is to be put back.
#[derive(Default)]
pub struct UnderWay {
    namespaces: Mutex<BTreeSet<String>>,
    before: Mutex<Option<Snapshot>>,
}

impl UnderWay {
    /// A namespace is about to be made.
    pub fn began(&self, namespace: &str) {
        self.namespaces.lock().insert(namespace.to_owned());
    }

    /// A namespace is gone.
    pub fn ended(&self, namespace: &str) {
        self.namespaces.lock().remove(namespace);
    }

    /// What interceptor and scaler have to be again; `None` when they are.
    pub fn changes(&self, before: Option<Snapshot>) {
        *self.before.lock() = before;
    }

    /// Puts back interceptor and scaler, deletes the namespaces, and says so. The stories must have been dropped.
    ///
    /// # Errors
    /// When it is not done in time.
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
    eprintln!("    interceptor and scaler are put back as they were");
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
