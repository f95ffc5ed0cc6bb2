//! Which namespace has a host that several claim, written down so that every interceptor and every restart agrees.
//!
//! One ConfigMap in the namespace of the interceptors, which nobody else may write. The scaler's leader writes it; the
//! interceptors follow it. Each entry's key is the host, its value the namespace. A ConfigMap's keys are made of letters,
//! digits, `-` and `.`; every other byte of a host stands as `_` and its two hexadecimal digits: `*.example.com` is
//! `_2a.example.com`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use keda_http_core::route::host::HostPattern;

/// The name of the ConfigMap.
pub const CONFIG_MAP: &str = "keda-http-hosts";

/// The longest key that Kubernetes takes.
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
    let mut key = String::with_capacity(host.len());
    for byte in host.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.') {
            key.push(char::from(byte));
        } else {
            key.push_str(&format!("_{byte:02x}"));
        }
    }
    key
}

fn decode(key: &str) -> Option<String> {
    let mut parts = key.split('_');
    let mut host: Vec<u8> = parts.next().unwrap_or_default().into();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        host.push(u8::from_str_radix(digits, 16).ok()?);
        host.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(host).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_fits_a_config_map() {
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
    fn what_cannot_be_read_is_told() {
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
