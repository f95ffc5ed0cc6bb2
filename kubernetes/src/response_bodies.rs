//! ConfigMaps with response bodies: an index of those with the label.
//!
//! A ConfigMap without the label is ignored: its contents were not meant for clients.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use keda_http_core::route::reply::media_type;

use crate::index::Index;
use crate::object::{Kind, NamespacedName, Object, ObjectId};

/// The label of ConfigMaps that hold response bodies; its value must be `true`.
pub const LABEL: &str = "http.keda.sh/response-body";

/// A ConfigMap.
pub type ConfigMapKey = NamespacedName;

/// The bodies in a ConfigMap, by key.
pub type Bodies = BTreeMap<Box<str>, Body>;

/// A response body.
#[derive(Debug, Clone, PartialEq)]
pub struct Body {
    /// Text or bytes.
    pub content: Bytes,
    /// By the extension of the key, else by how the content begins.
    pub media_type: &'static str,
}

/// The index.
#[derive(Debug, Default)]
pub struct ResponseBodies {
    config_maps: HashMap<ConfigMapKey, Arc<Bodies>>,
}

impl Index for ResponseBodies {
    /// A ConfigMap whose bodies have changed.
    type Effect = ConfigMapKey;

    fn apply(&mut self, object: &Object) -> Vec<ConfigMapKey> {
        match object {
            Object::ConfigMap(config_map) => self.set(config_map).into_iter().collect(),
            _ => Vec::new(),
        }
    }

    fn delete(&mut self, id: &ObjectId) -> Vec<ConfigMapKey> {
        let key = (id.kind == Kind::ConfigMap).then(|| id.into());
        key.and_then(|key| self.remove(key)).into_iter().collect()
    }

    fn ids(&self, kind: Kind) -> Vec<ObjectId> {
        let known = self.config_maps.keys().filter(|_| kind == Kind::ConfigMap);
        known
            .map(|key| ObjectId::new(kind, &key.namespace, &key.name))
            .collect()
    }
}

impl ResponseBodies {
    /// The bodies in a ConfigMap; `None` when there is none of that name with the label.
    pub fn get(&self, key: &ConfigMapKey) -> Option<Arc<Bodies>> {
        self.config_maps.get(key).cloned()
    }

    fn set(&mut self, config_map: &ConfigMap) -> Option<ConfigMapKey> {
        let key = ConfigMapKey::from(&config_map.metadata);
        if !is_labelled(&config_map.metadata) {
            return self.remove(key);
        }
        let bodies = bodies(config_map);
        if self.config_maps.get(&key).is_some_and(|known| **known == bodies) {
            return None;
        }
        self.config_maps.insert(key.clone(), Arc::new(bodies));
        Some(key)
    }

    fn remove(&mut self, key: ConfigMapKey) -> Option<ConfigMapKey> {
        self.config_maps.remove(&key).map(|_| key)
    }
}

fn is_labelled(metadata: &ObjectMeta) -> bool {
    let label = metadata.labels.as_ref().and_then(|labels| labels.get(LABEL));
    label.is_some_and(|value| value == "true")
}

/// Texts and bytes alike.
fn bodies(config_map: &ConfigMap) -> Bodies {
    let texts = config_map.data.iter().flatten();
    let texts = texts.map(|(key, text)| (key, Bytes::copy_from_slice(text.as_bytes())));
    let bytes = config_map.binary_data.iter().flatten();
    let bytes = bytes.map(|(key, bytes)| (key, Bytes::copy_from_slice(&bytes.0)));
    let body = |(key, content): (&String, Bytes)| {
        let media_type = media_type::of_file(key, &content);
        (key.as_str().into(), Body { content, media_type })
    };
    texts.chain(bytes).map(body).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::{Value, json};

    use super::*;
    use crate::source::Change;

    fn config_map(name: &str, label: &str, more: &Value) -> Object {
        let mut document = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": "shop", "labels": {LABEL: label}},
        });
        for (key, value) in more.as_object().unwrap() {
            document[key] = value.clone();
        }
        Object::parse(&document).unwrap().unwrap()
    }

    fn key(name: &str) -> ConfigMapKey {
        ConfigMapKey {
            namespace: "shop".into(),
            name: name.into(),
        }
    }

    fn pages() -> Object {
        config_map(
            "pages",
            "true",
            &json!({"data": {"index.html": "<p>soon</p>"}, "binaryData": {"logo.png": "iVBORw=="}}),
        )
    }

    #[test]
    fn texts_and_bytes_are_bodies_with_a_type() {
        let mut folded = ResponseBodies::default();
        assert_eq!(folded.update(&Change::Apply(pages())), [key("pages")]);
        let bodies = folded.get(&key("pages")).unwrap();
        assert_eq!(bodies["index.html"].content, "<p>soon</p>");
        assert_eq!(bodies["index.html"].media_type, "text/html; charset=utf-8");
        assert_eq!(bodies["logo.png"].content.as_ref(), b"\x89PNG");
        assert_eq!(bodies["logo.png"].media_type, "image/png");
        assert!(folded.update(&Change::Apply(pages())).is_empty(), "nothing has changed");
    }

    #[test]
    fn a_config_map_without_the_label_is_ignored() {
        let mut folded = ResponseBodies::default();
        let secret = || config_map("pages", "false", &json!({"data": {"password": "x"}}));
        assert!(folded.update(&Change::Apply(secret())).is_empty());
        assert_eq!(folded.get(&key("pages")), None);
        folded.update(&Change::Apply(pages()));
        assert_eq!(folded.update(&Change::Apply(secret())), [key("pages")]);
        assert_eq!(folded.get(&key("pages")), None);
    }

    #[test]
    fn deleted_objects_and_those_missing_in_a_reset_are_dropped() {
        let mut folded = ResponseBodies::default();
        let empty = |name| config_map(name, "true", &json!({}));
        let all = vec![empty("a"), empty("b"), empty("c")];
        folded.update(&Change::Reset(Kind::ConfigMap, all));
        let id = ObjectId {
            kind: Kind::ConfigMap,
            namespace: "shop".into(),
            name: "a".into(),
        };
        assert_eq!(folded.update(&Change::Delete(id)), [key("a")]);
        folded.update(&Change::Reset(Kind::Service, Vec::new()));
        assert!(folded.get(&key("b")).is_some());
        let kept = vec![empty("b")];
        assert_eq!(folded.update(&Change::Reset(Kind::ConfigMap, kept)), [key("c")]);
        assert!(folded.get(&key("b")).is_some() && folded.get(&key("c")).is_none());
    }
}
