//! The directory that interceptor and scaler read, and the objects in it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use serde_json::{Value, json};
use tempfile::TempDir;

pub const NAMESPACE: &str = "bench";

/// A directory of manifests in a temporary place, with room beside it for what the programs write.
#[derive(Debug)]
pub struct Manifests {
    root: TempDir,
}

impl Manifests {
    pub fn new() -> Result<Self> {
        let manifests = Self {
            root: tempfile::tempdir()?,
        };
        fs::create_dir(manifests.directory())?;
        Ok(manifests)
    }

    pub fn directory(&self) -> PathBuf {
        self.root.path().join("manifests")
    }

    pub fn scratch(&self) -> &Path {
        self.root.path()
    }

    /// Puts a file of objects into place by renaming it; the moment just before it.
    pub fn write(&self, name: &str, objects: &[Value]) -> Result<Instant> {
        let staged = self.root.path().join("staged.json");
        fs::write(
            &staged,
            serde_json::to_vec(&json!({"apiVersion": "v1", "kind": "List", "items": objects}))?,
        )?;
        let before = Instant::now();
        fs::rename(staged, self.directory().join(format!("{name}.json")))?;
        Ok(before)
    }
}

/// The host of a route with this name.
pub fn host(name: &str) -> String {
    format!("{name}.example.com")
}

/// The key under which its requests are counted.
pub fn key(name: &str) -> String {
    format!("{NAMESPACE}/{name}")
}

/// An InterceptorRoute from `host` to the Service of the same name as the route.
pub fn route(name: &str, host: &str) -> Value {
    json!({
        "apiVersion": "http.keda.sh/v1beta1", "kind": "InterceptorRoute",
        "metadata": {"namespace": NAMESPACE, "name": name},
        "spec": {
            "target": {"service": name, "port": 80},
            "rules": [{"hosts": [host]}],
            "scalingMetric": {"concurrency": {"targetValue": 100}},
        },
    })
}

pub fn service(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"namespace": NAMESPACE, "name": name},
        "spec": {"ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
    })
}

/// The Service's EndpointSlice with one ready endpoint.
pub fn slice(name: &str, endpoint: SocketAddr) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "namespace": NAMESPACE, "name": format!("{name}-1"),
            "labels": {"kubernetes.io/service-name": name},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": endpoint.port(), "protocol": "TCP"}],
        "endpoints": [{"addresses": [endpoint.ip().to_string()], "conditions": {"ready": true}}],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_whole_under_its_name() {
        let manifests = Manifests::new().unwrap();
        manifests
            .write("shop", &[route("shop", "shop.example.com"), service("shop")])
            .unwrap();
        let files: Vec<_> = fs::read_dir(manifests.directory())
            .unwrap()
            .map(|file| file.unwrap().path())
            .collect();
        assert_eq!(files, [manifests.directory().join("shop.json")]);
        let list: Value = serde_json::from_slice(&fs::read(&files[0]).unwrap()).unwrap();
        assert_eq!(
            list["items"][0]["spec"]["target"]["service"],
            list["items"][1]["metadata"]["name"]
        );
    }
}
