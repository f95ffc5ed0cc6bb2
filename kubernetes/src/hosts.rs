//! The record of which namespace owns a host that several claim, so that all interceptors agree, also across restarts.
//!
//! It is one ConfigMap in the namespace of the interceptors, which nobody else may write. The scaler's leader writes it,
//! and the interceptors watch it. Each entry's key is the host, its value the namespace. Keys of a ConfigMap consist of
//! letters, digits, `-` and `.`; every other byte of a host is written as `_` and its two hexadecimal digits:
//! `*.example.com` is `_2a.example.com`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use keda_http_core::route::host::HostPattern;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// The name of the ConfigMap.
pub const CONFIG_MAP: &str = "keda-http-hosts";

/// The bytes of a host that a key cannot contain, and `_` itself.
const ENCODED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.');

/// The longest key that Kubernetes allows.
const LONGEST_KEY: usize = 253;

/// The namespace of each host.
pub type Owners = BTreeMap<HostPattern, String>;

/// Reads the ConfigMap. Entries that are not valid are left out and reported.
pub fn read(config_map: &ConfigMap) -> (Owners, Vec<String>) {
    let mut owners = Owners::new();
    let mut problems = Vec::new();
    for (key, namespace) in config_map.data.iter().flatten() {
        match decode(key).and_then(|host| host.parse().ok()) {
            Some(host) if !namespace.is_empty() => {
                owners.insert(host, namespace.clone());
            }
            _ => problems.push(format!(
                "ConfigMap {CONFIG_MAP}: {key}: {namespace:?} cannot be used; allowed: a host, and a namespace"
            )),
        }
    }
    (owners, problems)
}

/// The entries of the ConfigMap. A host that is too long for a key is left out; no DNS name is.
pub fn write(owners: &Owners) -> BTreeMap<String, String> {
    let entries = owners
        .iter()
        .map(|(host, namespace)| (encode(&host.to_string()), namespace.clone()));
    entries.filter(|(key, _)| key.len() <= LONGEST_KEY).collect()
}

fn encode(host: &str) -> String {
    utf8_percent_encode(host, &ENCODED)
        .to_string()
        .replace('%', "_")
        .to_ascii_lowercase()
}

/// What is not a valid escape keeps its `%`, and is not a host then.
fn decode(key: &str) -> Option<String> {
    let escaped = key.replace('_', "%");
    let host = percent_decode_str(&escaped).decode_utf8();
    host.ok().map(Into::into)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn written_owners_are_read_again_and_fit_a_config_map() {
        let hosts = [
            "shop.example.com",
            "*.example.com",
            "*",
            "my_host",
            "::1",
            "bücher.example",
        ];
        let owners: Owners = hosts
            .iter()
            .map(|host| (host.parse().unwrap(), "shop".to_owned()))
            .collect();
        let data = write(&owners);
        assert!(data.contains_key("shop.example.com") && data.contains_key("_2a.example.com"));
        for key in data.keys() {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            assert!(key.bytes().all(allowed), "{key}");
        }
        let read = read(&ConfigMap {
            data: Some(data),
            ..ConfigMap::default()
        });
        assert_eq!(read, (owners, Vec::new()));
    }

    #[test]
    fn invalid_entries_are_reported() {
        let data = [("a b", "shop"), ("_2", "shop"), ("_zz", "shop"), ("shop.test", "")];
        let data = data.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let (owners, problems) = read(&ConfigMap {
            data: Some(BTreeMap::from(data)),
            ..ConfigMap::default()
        });
        assert!(owners.is_empty());
        assert_eq!(problems.len(), 4, "{problems:?}");
    }
}
