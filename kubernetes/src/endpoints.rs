//! Services and EndpointSlices to ready endpoints per service port: a pure fold.
//!
//! A service port is resolved as Kubernetes does it: the Service's port number gives the port's name, and the name the
//! slices' own port numbers, which are the containers'. A port that is given by name needs no Service. All slices of a
//! Service are merged, each endpoint once and with one address; IPv4 takes precedence over IPv6 where a pod has both.
//!
//! Only ready pods are endpoints. A terminating pod that still serves is not, not even when there is no other (kube-proxy
//! would then use it): without an endpoint the next request wakes a new pod, and is held for it. With
//! `publishNotReadyAddresses` the slices report every pod as ready.
//!
//! A Service of type ExternalName has no slices: its one endpoint is its name, always ready.
//!
//! Slices that point to the interceptors themselves have no endpoints here, so requests cannot loop.

mod address;
mod compact;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use keda_http_core::route::{PortRef, ServiceRef};
use keda_http_core::session::EndpointId;

use crate::index::Index;
use crate::object::{Kind, NamespacedName, Object, ObjectId};
pub use address::Address;
use compact::{Facts, Port, Slice, facts_of, id_of_text, slice_of};
pub use compact::{is_ready, is_terminating};

/// The label by which an EndpointSlice names its Service.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// A Service.
pub type ServiceKey = NamespacedName;

impl From<&ServiceRef> for ServiceKey {
    fn from(port: &ServiceRef) -> Self {
        Self {
            namespace: port.namespace.clone(),
            name: port.service.clone(),
        }
    }
}

/// The protocol of a Service port, by its `appProtocol`, else by its name as Istio reads it (`grpc`, `grpc-anything`, but
/// not `grpc-web…`, which is HTTP/1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AppProtocol {
    /// HTTP/1.1, also where no protocol is given.
    #[default]
    Http1,
    /// HTTP/2 with prior knowledge.
    H2c,
}

impl AppProtocol {
    /// `app_protocol` takes precedence over the name.
    fn of_port(name: &str, app_protocol: Option<&str>) -> Self {
        let is_one_of = |text: &str, all: &[&str]| all.iter().any(|known| text.eq_ignore_ascii_case(known));
        let is_h2c = match app_protocol.filter(|protocol| !protocol.is_empty()) {
            Some(protocol) => is_one_of(protocol, &["kubernetes.io/h2c", "h2c", "http2", "grpc"]),
            None => {
                let prefix = name.split('-').next().unwrap_or_default();
                let is_grpc_web = name.to_ascii_lowercase().starts_with("grpc-web");
                is_one_of(prefix, &["h2c", "http2", "grpc"]) && !is_grpc_web
            }
        };
        if is_h2c { Self::H2c } else { Self::Http1 }
    }
}

/// Where requests for a service port can be sent now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Endpoints {
    /// The ready ones, in a stable order, without repetition, one address for each.
    pub ready: Vec<ReadyEndpoint>,
    /// Their protocol: by the Service's port, else by the slices'.
    pub protocol: AppProtocol,
}

/// Where requests can be sent.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReadyEndpoint {
    /// Where it is dialled.
    pub address: Address,
    /// Its name in cookies: by the pod where there is one, else by its address.
    pub id: EndpointId,
}

/// Why a service port has no endpoints at all. The route stays in force and its requests are held; this is reported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointsError {
    /// No such Service.
    #[error("there is no Service {0}")]
    NoService(ServiceKey),
    /// The Service has no such port; with the ports that it has.
    #[error("Service {0} has no port {1}; it has {2}")]
    NoPort(ServiceKey, PortRef, String),
}

/// The index of Services and EndpointSlices.
#[derive(Debug, Default)]
pub struct EndpointIndex {
    services: HashMap<Arc<ServiceKey>, Known>,
    /// The Service of each slice, by the slice's namespace and name. The keys are those of `services`: shared, since there
    /// can be very many slices.
    owners: HashMap<Box<str>, HashMap<Box<str>, Arc<ServiceKey>>>,
}

/// What is known of a Service: itself, its slices (by name, sorted), or both.
#[derive(Debug, Default, PartialEq)]
struct Known {
    service: Option<Facts>,
    slices: Vec<(Box<str>, Slice)>,
}

impl Index for EndpointIndex {
    /// A Service whose endpoints may have changed.
    type Effect = ServiceKey;

    fn apply(&mut self, object: &Object) -> Vec<ServiceKey> {
        match object {
            Object::Service(service) => self.set_service(service).into_iter().collect(),
            Object::EndpointSlice(slice) => self.set_slice(slice),
            _ => Vec::new(),
        }
    }

    fn delete(&mut self, id: &ObjectId) -> Vec<ServiceKey> {
        let key = ServiceKey::from(id);
        let touched = match id.kind {
            Kind::Service => self.delete_service(&key),
            Kind::EndpointSlice => self.delete_slice(&key),
            _ => None,
        };
        touched.into_iter().collect()
    }

    fn ids(&self, kind: Kind) -> Vec<ObjectId> {
        match kind {
            Kind::Service => {
                let known = self.services.iter().filter(|(_, known)| known.service.is_some());
                known
                    .map(|(key, _)| ObjectId::new(kind, &key.namespace, &key.name))
                    .collect()
            }
            Kind::EndpointSlice => {
                let slices = self.owners.iter();
                let slices = slices.flat_map(|(namespace, slices)| slices.keys().map(move |name| (namespace, name)));
                slices
                    .map(|(namespace, name)| ObjectId::new(kind, &**namespace, &**name))
                    .collect()
            }
            _ => Vec::new(),
        }
    }
}

impl EndpointIndex {
    /// The endpoints of a service port. A Service without ready endpoints is `Ok` with an empty list.
    ///
    /// # Errors
    /// When there is no such Service, or it has no such port.
    pub fn endpoints(&self, service: &ServiceRef) -> Result<Endpoints, EndpointsError> {
        let key = ServiceKey::from(service);
        let Some(known) = self.services.get(&key) else {
            return Err(EndpointsError::NoService(key));
        };
        if let Some(Facts {
            external_name: Some(host),
            ports,
        }) = &known.service
        {
            return external(key, host, ports, &service.port);
        }
        let (name, protocol) = known.resolve(key, &service.port)?;
        Ok(known.ready(&name, protocol))
    }

    fn set_service(&mut self, service: &Service) -> Option<ServiceKey> {
        let facts = facts_of(service);
        let key = self.key((&service.metadata).into());
        let known = self.services.entry(key.clone()).or_default();
        if known.service.as_ref() == Some(&facts) {
            return None;
        }
        known.service = Some(facts);
        Some(ServiceKey::clone(&key))
    }

    fn set_slice(&mut self, slice: &EndpointSlice) -> Vec<ServiceKey> {
        let id = ServiceKey::from(&slice.metadata);
        let labels = slice.metadata.labels.as_ref();
        let service = labels
            .and_then(|labels| labels.get(SERVICE_NAME))
            .map(|name| ServiceKey {
                namespace: id.namespace.clone(),
                name: name.clone(),
            });
        let mut touched = Vec::new();
        if self.owner(&id).map(|owner| &**owner) != service.as_ref() {
            touched.extend(self.delete_slice(&id));
        }
        let Some(service) = service else { return touched };
        let service = self.key(service);
        let known = self.services.entry(service.clone()).or_default();
        if known.put(&id.name, slice_of(slice)) {
            touched.push(ServiceKey::clone(&service));
        }
        let slices = self.owners.entry(id.namespace.into()).or_default();
        slices.insert(id.name.into(), service);
        touched
    }

    fn owner(&self, slice: &ServiceKey) -> Option<&Arc<ServiceKey>> {
        self.owners.get(&*slice.namespace)?.get(&*slice.name)
    }

    fn disown(&mut self, slice: &ServiceKey) -> Option<Arc<ServiceKey>> {
        let slices = self.owners.get_mut(&*slice.namespace)?;
        let owner = slices.remove(&*slice.name);
        if slices.is_empty() {
            self.owners.remove(&*slice.namespace);
        }
        owner
    }

    /// The shared copy of the key.
    fn key(&self, key: ServiceKey) -> Arc<ServiceKey> {
        match self.services.get_key_value(&key) {
            Some((known, _)) => known.clone(),
            None => Arc::new(key),
        }
    }

    fn delete_service(&mut self, key: &ServiceKey) -> Option<ServiceKey> {
        let known = self.services.get_mut(key)?.service.take();
        self.drop_if_unknown(key);
        known.map(|_| key.clone())
    }

    fn delete_slice(&mut self, id: &ServiceKey) -> Option<ServiceKey> {
        let service = self.disown(id)?;
        if let Some(known) = self.services.get_mut(&service) {
            known.slices.retain(|(name, _)| **name != *id.name);
        }
        self.drop_if_unknown(&service);
        Some(ServiceKey::clone(&service))
    }

    fn drop_if_unknown(&mut self, key: &ServiceKey) {
        if self.services.get(key).is_some_and(|known| *known == Known::default()) {
            self.services.remove(key);
        }
    }
}

impl Known {
    /// Adds or replaces a slice; `true` when that changed something.
    fn put(&mut self, name: &str, slice: Slice) -> bool {
        match self.slices.binary_search_by(|(known, _)| (**known).cmp(name)) {
            Ok(at) if self.slices[at].1 == slice => return false,
            Ok(at) => self.slices[at].1 = slice,
            Err(at) => {
                self.slices.reserve_exact(1); // most Services have one slice, and there can be very many Services
                self.slices.insert(at, (name.into(), slice));
            }
        }
        true
    }

    /// The name of the port in the slices, and its protocol where the Service defines it.
    fn resolve(&self, key: ServiceKey, port: &PortRef) -> Result<(Box<str>, Option<AppProtocol>), EndpointsError> {
        match (&self.service, port) {
            (Some(Facts { ports, .. }), _) => match ports.iter().find(|known| known.is(port)) {
                Some(known) => Ok((known.name.clone(), Some(known.protocol))),
                None => Err(no_port(key, port, ports)),
            },
            (None, PortRef::Name(name)) => Ok((name.as_str().into(), None)),
            (None, PortRef::Number(_)) => Err(EndpointsError::NoService(key)),
        }
    }

    fn ready(&self, port: &str, protocol: Option<AppProtocol>) -> Endpoints {
        let numbered = self.slices.iter().flat_map(|(_, slice)| {
            let port = slice.ports.iter().find(|known| *known.name == *port);
            port.map(|port| (slice, port))
        });
        let speaks_h2c = numbered.clone().any(|(_, port)| port.protocol == AppProtocol::H2c);
        let own = if speaks_h2c {
            AppProtocol::H2c
        } else {
            AppProtocol::Http1
        };
        let found: Vec<(u64, SocketAddr)> = numbered
            .flat_map(|(slice, port)| {
                slice
                    .ready
                    .iter()
                    .map(|ready| (ready.pod, SocketAddr::new(ready.address, port.number)))
            })
            .collect();
        let protocol = protocol
            .filter(|protocol| *protocol != AppProtocol::Http1)
            .unwrap_or(own);
        Endpoints {
            ready: one_family(&found),
            protocol,
        }
    }
}

/// The name of an ExternalName Service as its endpoint. Its ports need not be listed to be used by number, as with
/// Kubernetes, which only has the name resolved.
fn external(key: ServiceKey, host: &str, ports: &[Port], port: &PortRef) -> Result<Endpoints, EndpointsError> {
    let (number, protocol) = match (ports.iter().find(|known| known.is(port)), port) {
        (Some(known), _) => (known.number, known.protocol),
        (None, PortRef::Number(number)) => (*number, AppProtocol::Http1),
        (None, PortRef::Name(_)) => return Err(no_port(key, port, ports)),
    };
    let address = Address::Name {
        host: host.into(),
        port: number,
    };
    let id = id_of_text(&address.to_string());
    Ok(Endpoints {
        ready: vec![ReadyEndpoint { address, id }],
        protocol,
    })
}

/// Sorted, each once; the IPv6 addresses of pods that have an IPv4 address too are left out.
fn one_family(found: &[(u64, SocketAddr)]) -> Vec<ReadyEndpoint> {
    let in_v4: HashSet<u64> = found
        .iter()
        .filter(|(pod, address)| *pod != 0 && address.is_ipv4())
        .map(|(pod, _)| *pod)
        .collect();
    let wanted = found
        .iter()
        .filter(|(pod, address)| address.is_ipv4() || !in_v4.contains(pod));
    let unique: BTreeMap<SocketAddr, u64> = wanted.map(|(pod, address)| (*address, *pod)).collect();
    let endpoint = |(address, pod): (SocketAddr, u64)| ReadyEndpoint {
        address: address.into(),
        id: match pod {
            0 => id_of_text(&address.to_string()),
            pod => EndpointId(pod),
        },
    };
    unique.into_iter().map(endpoint).collect()
}

impl Port {
    fn is(&self, port: &PortRef) -> bool {
        match port {
            PortRef::Number(number) => self.number == *number,
            PortRef::Name(name) => *self.name == **name,
        }
    }
}

fn no_port(key: ServiceKey, port: &PortRef, ports: &[Port]) -> EndpointsError {
    let has: Vec<String> = ports
        .iter()
        .map(|port| {
            if port.name.is_empty() {
                port.number.to_string()
            } else {
                format!("{} ({})", port.number, port.name)
            }
        })
        .collect();
    let ports = if has.is_empty() { "none".into() } else { has.join(", ") };
    EndpointsError::NoPort(key, port.clone(), ports)
}

#[cfg(test)]
mod tests;
