//! Zipkin, as a process of the node: it is a Java program, of which there is no image here.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Node;
use keda_http_e2e::control_plane::binaries;
use keda_http_e2e::story::{Skipped, Space, caller};
use keda_http_e2e::wait;
use kube::api::{Api, ListParams};
use tokio::process::{Child, Command};

/// A Java program needs its time.
const START: Duration = Duration::from_secs(90);

/// Zipkin; it ends when this is dropped.
pub struct Zipkin {
    /// Its API.
    pub query: String,
    #[expect(dead_code, reason = "held for its drop")]
    process: Child,
}

/// Starts Zipkin on the node, with a Service `zipkin` that leads to it.
pub async fn start(space: &Space) -> Result<Zipkin> {
    let jar = binaries().join("zipkin.jar");
    if space.cluster.node.is_none() || !jar.exists() {
        let reason = "Zipkin runs as a process of the node: it needs `make cluster`, Java, and Maven to fetch it";
        return Err(Skipped(reason.to_owned()).into());
    }
    let process = Command::new("java")
        .args(["-Xmx256m", "-XX:TieredStopAtLevel=1", "-jar"])
        .arg(jar)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("java")?;
    let address = node_address(space).await?;
    space
        .apply(&format!(
            "apiVersion: v1
kind: Service
metadata: {{name: zipkin}}
spec: {{ports: [{{name: http, port: 9411}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: zipkin, labels: {{kubernetes.io/service-name: zipkin}}}}
addressType: IPv4
endpoints: [{{addresses: [{address}], conditions: {{ready: true}}}}]
ports: [{{name: http, port: 9411}}]
"
        ))
        .await?;
    let query = format!("http://{address}:9411");
    wait::until("Zipkin does not start", START, async || {
        let answer = caller::get(&format!("{query}/health"), "zipkin").await.ok()?;
        (answer.status == 200).then_some(())
    })
    .await?;
    Ok(Zipkin { query, process })
}

async fn node_address(space: &Space) -> Result<String> {
    let nodes: Api<Node> = Api::all(space.cluster.client.clone());
    let node = nodes
        .list(&ListParams::default())
        .await?
        .items
        .pop()
        .context("a node")?;
    let addresses = node.status.and_then(|status| status.addresses).unwrap_or_default();
    let internal = addresses.into_iter().find(|address| address.type_ == "InternalIP");
    Ok(internal.context("the node's address")?.address)
}
