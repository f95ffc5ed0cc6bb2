//! The EndpointSlices of the admin Service, folded to the pods of the interceptors.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};

use keda_http_kubernetes::endpoints::{is_ready, is_terminating};
use keda_http_kubernetes::index::Index;
use keda_http_kubernetes::object::{Kind, Object, ObjectId};

use crate::host_port::HostPort;

/// A pod of an interceptor: ready, not ready or terminating, as long as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Its admin port, by the IPv4 address where the pod has one.
    pub interceptor: HostPort,
    /// Its addresses, IPv4 before IPv6.
    pub addresses: Vec<IpAddr>,
    /// Whether it takes new connections.
    pub ready: bool,
    /// The node it runs on; `None` where the slices do not say.
    pub node: Option<String>,
    /// The zone it runs in; `None` where the slices do not say.
    pub zone: Option<String>,
}

/// The fold.
#[derive(Debug)]
pub struct Slices {
    /// The namespace of the admin Service.
    namespace: String,
    /// The admin port by the settings.
    port: u16,
    /// By the slices' names.
    slices: BTreeMap<String, Vec<Listed>>,
}

/// An endpoint of a slice.
#[derive(Debug)]
struct Listed {
    /// What is one for all addresses of a pod.
    id: String,
    address: SocketAddr,
    ready: bool,
    node: Option<String>,
    zone: Option<String>,
}

/// The name of the admin port in upstream's Services.
const ADMIN: &str = "admin";

impl Index for Slices {
    type Effect = ObjectId;

    fn apply(&mut self, object: &Object) -> Vec<ObjectId> {
        let Object::EndpointSlice(slice) = object else {
            return Vec::new();
        };
        let id = object.id();
        self.slices.insert(id.name.clone(), listed(slice, self.port));
        vec![id]
    }

    fn delete(&mut self, id: &ObjectId) -> Vec<ObjectId> {
        let gone = (id.kind == Kind::EndpointSlice).then(|| self.slices.remove(&id.name));
        gone.flatten().map(|_| id.clone()).into_iter().collect()
    }

    fn ids(&self, kind: Kind) -> Vec<ObjectId> {
        let names = self.slices.keys().filter(|_| kind == Kind::EndpointSlice);
        let id = |name: &String| ObjectId {
            kind,
            namespace: self.namespace.clone(),
            name: name.clone(),
        };
        names.map(id).collect()
    }
}

impl Slices {
    /// Nothing is listed. `port`: where a slice has neither this port nor one by the name `admin`, this one is used.
    pub fn new(namespace: &str, port: u16) -> Self {
        Self {
            namespace: namespace.to_owned(),
            port,
            slices: BTreeMap::new(),
        }
    }

    /// All pods, each once, in a stable order. A pod that is listed more than once, by other addresses or because its
    /// slices are being rewritten, is ready when all of them say so.
    pub fn pods(&self) -> Vec<Pod> {
        let mut pods: BTreeMap<&str, Vec<&Listed>> = BTreeMap::new();
        for listed in self.slices.values().flatten() {
            pods.entry(&listed.id).or_default().push(listed);
        }
        let mut pods: Vec<Pod> = pods.into_values().filter_map(pod).collect();
        pods.sort_by(|one, other| one.interceptor.cmp(&other.interceptor));
        pods.dedup_by(|one, other| one.interceptor == other.interceptor);
        pods
    }
}

fn pod(mut listed: Vec<&Listed>) -> Option<Pod> {
    // An IPv4 address is less than any IPv6 address.
    listed.sort_by_key(|listed| listed.address);
    let first = *listed.first()?;
    let mut addresses: Vec<IpAddr> = listed.iter().map(|listed| listed.address.ip()).collect();
    addresses.dedup();
    Some(Pod {
        interceptor: first.address.into(),
        addresses,
        ready: listed.iter().all(|listed| listed.ready),
        node: first.node.clone(),
        zone: first.zone.clone(),
    })
}

fn listed(slice: &EndpointSlice, port: u16) -> Vec<Listed> {
    let port = admin_port(slice.ports.as_deref().unwrap_or_default(), port);
    let endpoints = slice.endpoints.iter();
    endpoints
        .filter_map(|endpoint| listed_endpoint(endpoint, port))
        .collect()
}

/// Only the first address has a meaning. One that is no IP address is of a slice that is not the pods'.
fn listed_endpoint(endpoint: &Endpoint, port: u16) -> Option<Listed> {
    let address: IpAddr = endpoint.addresses.first()?.parse().ok()?;
    let target = endpoint.target_ref.as_ref();
    let id = target.and_then(|target| target.uid.clone().or_else(|| target.name.clone()));
    Some(Listed {
        id: id.unwrap_or_else(|| address.to_string()),
        address: SocketAddr::new(address, port),
        // One that drains takes no new connections.
        ready: is_ready(endpoint) && !is_terminating(endpoint),
        node: endpoint.node_name.clone(),
        zone: endpoint.zone.clone(),
    })
}

fn admin_port(ports: &[EndpointPort], configured: u16) -> u16 {
    let number = |port: &EndpointPort| port.port.and_then(|number| u16::try_from(number).ok());
    if ports.iter().any(|port| number(port) == Some(configured)) {
        return configured;
    }
    let named = ports.iter().find(|port| port.name.as_deref() == Some(ADMIN));
    named.and_then(number).unwrap_or(configured)
}

#[cfg(test)]
mod tests;
