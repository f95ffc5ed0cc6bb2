//! Layers and settings as an image, and the OCI archive around it: what `ctr images import`, `podman load`,
//! `docker load` and `skopeo copy oci-archive:...` take.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::{Value, json};

use crate::layer::Layer;
use crate::sha256;

pub struct Image {
    /// `amd64` or `arm64`.
    pub architecture: &'static str,
    /// The name under which it is imported, with a tag.
    pub reference: String,
    /// The program that a container runs.
    pub entrypoint: String,
    /// User and group as numbers, so that a kubelet sees that it is not root (`runAsNonRoot`).
    pub user: &'static str,
    /// `org.opencontainers.image.*`.
    pub labels: BTreeMap<String, String>,
    /// When it was made, in seconds since 1970.
    pub time: u64,
    /// Its files, the lowest layer first.
    pub layers: Vec<Layer>,
}

pub struct Archive {
    pub tar: Vec<u8>,
    /// The digest of its manifest, by which a registry knows the image unless a client compresses the layers on the way.
    pub digest: String,
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
// Not compressed: whoever stores or sends it does that, and archives stay the same with every version of a compressor.
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

#[derive(Default)]
struct Blobs(BTreeMap<String, Vec<u8>>);

impl Blobs {
    fn add(&mut self, media_type: &str, bytes: Vec<u8>) -> Value {
        let (digest, size) = (sha256(&bytes), bytes.len());
        self.0.insert(digest.clone(), bytes);
        json!({"mediaType": media_type, "digest": format!("sha256:{digest}"), "size": size})
    }

    fn add_json(&mut self, media_type: &str, value: &Value) -> Result<Value> {
        Ok(self.add(media_type, serde_json::to_vec(value)?))
    }
}

impl Image {
    /// Writes the archive.
    ///
    /// # Errors
    /// When a path in a layer is too long, or the time is beyond the calendar.
    pub fn archive(&self) -> Result<Archive> {
        let mut blobs = Blobs::default();
        let mut layers = Vec::new();
        for layer in &self.layers {
            layers.push(blobs.add(LAYER, layer.tar(self.time)?));
        }
        let config = blobs.add_json(CONFIG, &self.config(&layers)?)?;
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
        let mut manifest = blobs.add_json(MANIFEST, &manifest)?;
        let digest = manifest["digest"].as_str().unwrap_or_default().to_owned();
        manifest["platform"] = json!({"architecture": self.architecture, "os": "linux"});
        let tag = self.reference.rsplit_once(':').map_or("latest", |(_, tag)| tag);
        manifest["annotations"] =
            json!({"io.containerd.image.name": self.reference, "org.opencontainers.image.ref.name": tag});
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [manifest],
        });
        let tar = self.layout(blobs, &index)?;
        Ok(Archive { tar, digest })
    }

    fn config(&self, layers: &[Value]) -> Result<Value> {
        let created = jiff::Timestamp::from_second(i64::try_from(self.time)?)?.to_string();
        // What is not compressed has one digest, as layer and as content.
        let contents: Vec<_> = layers.iter().map(|layer| &layer["digest"]).collect();
        let history: Vec<_> = layers
            .iter()
            .map(|_| json!({"created": created, "created_by": "keda-http-images"}))
            .collect();
        Ok(json!({
            "architecture": self.architecture,
            "os": "linux",
            "created": created,
            "config": {
                "User": self.user,
                "Entrypoint": [self.entrypoint],
                "Env": ["PATH=/"],
                "WorkingDir": "/",
                "Labels": self.labels,
            },
            "rootfs": {"type": "layers", "diff_ids": contents},
            "history": history,
        }))
    }

    fn layout(&self, blobs: Blobs, index: &Value) -> Result<Vec<u8>> {
        let mut files = Layer::default()
            .directory("blobs", 0o755)
            .directory("blobs/sha256", 0o755)
            .file("index.json", 0o644, serde_json::to_vec(index)?)
            .file("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#);
        for (digest, bytes) in blobs.0 {
            files = files.file(&format!("blobs/sha256/{digest}"), 0o644, bytes);
        }
        files.tar(self.time)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn image(program: &str) -> Image {
        Image {
            architecture: "amd64",
            reference: "localhost/program:1.2.3".to_owned(),
            entrypoint: "/program".to_owned(),
            user: "65532:65532",
            labels: BTreeMap::from([("org.opencontainers.image.version".to_owned(), "1.2.3".to_owned())]),
            time: 86_400,
            layers: vec![
                Layer::default().directory("tmp", 0o1777),
                Layer::default().file("program", 0o755, program),
            ],
        }
    }

    fn files(tar: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut archive = tar::Archive::new(tar);
        let read = |entry: std::io::Result<tar::Entry<'_, &[u8]>>| {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            (entry.path().unwrap().display().to_string(), content)
        };
        archive.entries().unwrap().map(read).collect()
    }

    /// The blob that a descriptor means; its size and digest are what the descriptor says.
    fn blob(files: &BTreeMap<String, Vec<u8>>, descriptor: &Value) -> Vec<u8> {
        let digest = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
        let bytes = &files[&format!("blobs/sha256/{digest}")];
        assert_eq!(sha256(bytes), digest);
        assert_eq!(descriptor["size"], bytes.len());
        bytes.clone()
    }

    #[test]
    fn the_same_image_is_the_same_bytes_and_another_is_not() {
        let first = image("binary").archive().unwrap();
        let second = image("binary").archive().unwrap();
        assert!(first.tar == second.tar && first.digest == second.digest);
        assert_ne!(first.digest, image("another").archive().unwrap().digest);
    }

    #[test]
    fn everything_is_found_by_its_digest_from_the_index_on() {
        let archive = image("binary").archive().unwrap();
        let files = files(&archive.tar);
        assert_eq!(files["oci-layout"], br#"{"imageLayoutVersion":"1.0.0"}"#);
        let index: Value = serde_json::from_slice(&files["index.json"]).unwrap();
        let found = &index["manifests"][0];
        assert_eq!(found["digest"], archive.digest);
        assert_eq!(found["platform"]["architecture"], "amd64");
        assert_eq!(
            found["annotations"]["io.containerd.image.name"],
            "localhost/program:1.2.3"
        );
        assert_eq!(found["annotations"]["org.opencontainers.image.ref.name"], "1.2.3");
        let manifest: Value = serde_json::from_slice(&blob(&files, found)).unwrap();
        let config: Value = serde_json::from_slice(&blob(&files, &manifest["config"])).unwrap();
        assert_eq!(config["config"]["User"], "65532:65532");
        assert_eq!(config["config"]["Entrypoint"], json!(["/program"]));
        assert_eq!(config["created"], "1970-01-02T00:00:00Z");
        let contents = config["rootfs"]["diff_ids"].as_array().unwrap();
        let layers = manifest["layers"].as_array().unwrap();
        assert_eq!(layers.len(), 2);
        for (layer, content) in layers.iter().zip(contents) {
            assert_eq!(
                format!("sha256:{}", sha256(&blob(&files, layer))),
                content.as_str().unwrap()
            );
        }
    }
}
