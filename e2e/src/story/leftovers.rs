//! Cleans up what a killed run has left.

use std::time::Duration;

use anyhow::Result;

use super::cluster::{Cluster, SCALER};
use super::node::API_SERVER;
use crate::wait;

/// How long an API server that was stopped may take to answer again.
const LIMIT: Duration = Duration::from_secs(60);

/// Resumes a stopped API server, gives a scaler without replicas one, and ends the pause of the interceptor's ScaledObject.
///
/// What a killed run has set in the environment of interceptor and scaler stays: nobody knows what was there before. Namespaces
/// of its stories go when these run again.
///
/// # Errors
/// When one of these cannot be done.
pub async fn put_right(cluster: &Cluster) -> Result<()> {
    if let Some(node) = &cluster.node
        && node.resume(API_SERVER)?
    {
        eprintln!("an earlier run has left the API server stopped: it goes on");
    }
    let scaler = cluster.system(SCALER);
    let replicas = wait::until("the scaler's Deployment cannot be read", LIMIT, async || {
        scaler.replicas().await.ok()
    });
    if replicas.await? == 0 {
        eprintln!("an earlier run has left the scaler without replicas: starting one");
        scaler.scale(1).await?;
    }
    // Where KEDA does not scale the interceptor, there is nothing to undo.
    cluster.pause_interceptor(None).await.ok();
    Ok(())
}
