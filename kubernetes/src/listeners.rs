//! Which port of the interceptors belongs to which autowired Service.
//!
//! In-cluster callers use bare names (`Host: api`), which Services of several namespaces may have. So each autowired
//! Service port has a port of its own at every interceptor. The scaler's leader allocates the ports and records them in one
//! ConfigMap in the namespace of the interceptors, which nobody else may write; the interceptors listen on them. Each
//! entry's key is the port, its value the Service port as `namespace/service:port`, by number or by name.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use keda_http_core::route::{PortRef, ServiceRef};

/// The name of the ConfigMap.
pub const CONFIG_MAP: &str = "keda-http-listeners";

/// The Service port of each listener's port.
pub type Listeners = BTreeMap<u16, ServiceRef>;

/// Reads the ConfigMap. Entries that are not valid are left out and reported.
pub fn read(config_map: &ConfigMap) -> (Listeners, Vec<String>) {
    let mut listeners = Listeners::new();
    let mut problems = Vec::new();
    for (port, service) in config_map.data.iter().flatten() {
        match (port.parse().ok().filter(|port| *port != 0), service_ref(service)) {
            (Some(port), Some(service)) => {
                listeners.insert(port, service);
            }
            _ => problems.push(format!(
                "ConfigMap {CONFIG_MAP}: {port}: {service:?} cannot be used; allowed: a port, and namespace/service:port"
            )),
        }
    }
    (listeners, problems)
}

/// The entries of the ConfigMap.
pub fn write(listeners: &Listeners) -> BTreeMap<String, String> {
    let entry = |(port, service): (&u16, &ServiceRef)| (port.to_string(), service.to_string());
    listeners.iter().map(entry).collect()
}

/// A port's name contains a letter, so digits alone are a number.
fn service_ref(text: &str) -> Option<ServiceRef> {
    let (namespace, rest) = text.split_once('/')?;
    let (service, port) = rest.split_once(':')?;
    if namespace.is_empty() || service.is_empty() || port.is_empty() || port == "0" {
        return None;
    }
    let port = port
        .parse()
        .map_or_else(|_| PortRef::Name(port.into()), PortRef::Number);
    Some(ServiceRef {
        namespace: namespace.into(),
        service: service.into(),
        port,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_listeners_are_read_again_and_invalid_entries_are_reported() {
        let service = |port| ServiceRef {
            namespace: "shop".into(),
            service: "api".into(),
            port,
        };
        let listeners = Listeners::from([
            (20_000, service(PortRef::Number(80))),
            (20_001, service(PortRef::Name("http".into()))),
        ]);
        let mut data = write(&listeners);
        assert_eq!(data["20000"], "shop/api:80");
        data.insert("x".into(), "shop/api:80".into());
        data.insert("20002".into(), "shop/api".into());
        let (read, problems) = read(&ConfigMap {
            data: Some(data),
            ..ConfigMap::default()
        });
        assert_eq!(read, listeners);
        assert_eq!(problems.len(), 2, "{problems:?}");
    }
}
