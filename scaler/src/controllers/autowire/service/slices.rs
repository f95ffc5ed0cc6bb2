//! The EndpointSlices that a Service should have, and how they are changed without a gap.
//!
//! Each port of the Service has slices of its own, whose names never change: switching its destination is one update of
//! one object. Writes that add endpoints come before writes that remove some.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use keda_http_kubernetes::endpoints::{SERVICE_NAME, ServiceKey, is_ready};
use keda_http_kubernetes::wired::{
    FALLBACK, FALLBACK_SERVICE, LISTENER_PORT, MANAGED_BY, MANAGER, RELEASED, SCALED_OBJECT, STATE, WIRED, annotation,
};

use super::health::{ListeningPod, PortDestination};
use super::survey::{Wire, sibling};
use super::world::{IpFamily, PortFacts, ServiceFacts, Shape, World};

/// The number of endpoints that Kubernetes itself puts into a slice.
const ENDPOINTS: usize = 100;

#[derive(Debug, Clone, PartialEq)]
pub enum SliceWrite {
    Put {
        slice: Box<EndpointSlice>,
        /// Whether it exists and was written by autowire.
        known: bool,
    },
    Remove {
        /// Namespace and name of the slice.
        slice: ServiceKey,
        /// Only when the API server confirms that this Service does not exist.
        only_without: Option<ServiceKey>,
    },
}

/// The inputs by which the slices of one Service are decided.
pub struct SliceInputs<'a> {
    pub world: &'a World,
    /// The Service.
    pub key: &'a ServiceKey,
    /// Its autowired ports.
    pub wires: &'a [Wire],
    /// Where these should point.
    pub destination: &'a dyn Fn(&Wire) -> PortDestination,
    /// The addresses of interceptors, which are never pods of a workload.
    pub interceptors: &'a BTreeSet<IpAddr>,
}

/// The slices that autowire wrote, by name.
type OwnSlices = BTreeMap<String, EndpointSlice>;

/// The annotations of a slice.
type Annotations = BTreeMap<String, String>;

/// The endpoints of one slice.
struct SliceChunk {
    number: u16,
    app_protocol: Option<String>,
    endpoints: Vec<Endpoint>,
}

/// The writes that make the slices of the Service as they should be.
pub fn writes(inputs: &SliceInputs<'_>) -> Vec<SliceWrite> {
    let none = OwnSlices::new();
    let own = inputs.world.own().get(inputs.key).unwrap_or(&none);
    // The slices of a Service that was deleted are garbage-collected.
    let Some(facts) = inputs.world.service(inputs.key) else {
        return Vec::new();
    };
    if facts.shape == Shape::WithSelector {
        // Kubernetes writes its endpoints again.
        let written = inputs.world.has_others(inputs.key);
        return if written {
            removals(inputs.key, own.keys(), None)
        } else {
            Vec::new()
        };
    }
    if inputs.wires.is_empty() {
        // A slice whose annotations were destroyed is left alone.
        let Some(fallback) = own.values().find_map(|slice| annotation(slice, FALLBACK_SERVICE)) else {
            return Vec::new();
        };
        let fallback = sibling(inputs.key, fallback);
        if inputs.world.service(&fallback).is_none() {
            return removals(inputs.key, own.keys(), Some(&fallback));
        }
    }
    let mut kept = BTreeSet::new();
    let mut desired = Vec::new();
    for (index, port) in facts.ports.iter().enumerate() {
        let wire = inputs.wires.iter().find(|wire| wire.port == index);
        match wire.map(|wire| (inputs.destination)(wire)) {
            Some(PortDestination::Unchanged) => kept.extend(
                own.iter()
                    .filter(|(_, slice)| serves(slice, port))
                    .map(|(name, _)| name),
            ),
            destination => {
                let destination = destination.unwrap_or(PortDestination::Pods);
                desired.extend(port_slices(inputs, (facts, port), wire, &destination));
            }
        }
    }
    order_writes(inputs.key, own, desired, &kept)
}

/// Whether a port of the Service points to interceptors now.
pub fn is_wired(own: Option<&OwnSlices>, port: &PortFacts) -> bool {
    let mut slices = own.into_iter().flat_map(BTreeMap::values);
    slices.any(|slice| serves(slice, port) && annotation(slice, STATE) == Some(WIRED))
}

/// Whether the fallback Service has a ready pod for this port of the autowired Service.
pub fn has_pods(world: &World, fallback: &ServiceKey, port: &PortFacts) -> bool {
    let Some(sibling) = world.service(fallback).and_then(|facts| facts.port_like(port)) else {
        return false;
    };
    let slices = world.others(fallback);
    slices
        .iter()
        .filter(|slice| serves(slice, sibling))
        .any(|slice| slice.endpoints.iter().any(is_ready))
}

/// The ports of interceptors to which slices point.
pub fn ports_used(world: &World) -> BTreeSet<u16> {
    let slices = world.own().values().flat_map(BTreeMap::values);
    slices
        .filter_map(|slice| annotation(slice, LISTENER_PORT)?.parse().ok())
        .collect()
}

fn removals<'a>(
    key: &ServiceKey,
    names: impl Iterator<Item = &'a String>,
    only_without: Option<&ServiceKey>,
) -> Vec<SliceWrite> {
    let remove = |name: &String| SliceWrite::Remove {
        slice: sibling(key, name),
        only_without: only_without.cloned(),
    };
    names.map(remove).collect()
}

/// Slices with endpoints first, then those without, then removals.
fn order_writes(
    key: &ServiceKey,
    own: &OwnSlices,
    desired: Vec<EndpointSlice>,
    kept: &BTreeSet<&String>,
) -> Vec<SliceWrite> {
    let names: BTreeSet<String> = desired.iter().filter_map(|slice| slice.metadata.name.clone()).collect();
    let gone = own
        .keys()
        .filter(|name| !names.contains(*name) && !kept.contains(*name));
    let mut puts: Vec<SliceWrite> = Vec::new();
    let (filled, empty): (Vec<_>, Vec<_>) = desired.into_iter().partition(|slice| !slice.endpoints.is_empty());
    for slice in filled.into_iter().chain(empty) {
        let current = own.get(slice.metadata.name.as_deref().unwrap_or_default());
        if current.is_none_or(|current| !matches(current, &slice)) {
            puts.push(SliceWrite::Put {
                slice: Box::new(slice),
                known: current.is_some(),
            });
        }
    }
    puts.extend(removals(key, gone, None));
    puts
}

fn port_slices(
    inputs: &SliceInputs<'_>,
    (facts, port): (&ServiceFacts, &PortFacts),
    wire: Option<&Wire>,
    destination: &PortDestination,
) -> Vec<EndpointSlice> {
    let Some(annotations) = marking(inputs, port, wire, destination) else {
        return Vec::new();
    };
    let mut slices = Vec::new();
    for family in &facts.families {
        let mut chunks = match destination {
            PortDestination::Interceptors(listener, accepting) => {
                interceptor_chunks(*listener, port, *family, accepting)
            }
            PortDestination::Unchanged | PortDestination::Pods => {
                pod_chunks(inputs, &annotations[FALLBACK_SERVICE], port, *family)
            }
        };
        if chunks.is_empty() {
            // The annotations of the port must not be lost.
            chunks.push(SliceChunk {
                number: port.number,
                app_protocol: port.app_protocol.clone(),
                endpoints: Vec::new(),
            });
        }
        let chunks = chunks.into_iter().enumerate();
        slices
            .extend(chunks.map(|(index, chunk)| slice(inputs.key, facts, (port, *family, index), &annotations, chunk)));
    }
    slices
}

/// The annotations of a port's slices; `None` for a Service that was never autowired. A port that no trigger names gets
/// those of the Service's first autowired port, or else keeps those of its slices.
fn marking(
    inputs: &SliceInputs<'_>,
    port: &PortFacts,
    wire: Option<&Wire>,
    destination: &PortDestination,
) -> Option<Annotations> {
    if let Some(wire) = wire.or(inputs.wires.first()) {
        let (state, listener) = match destination {
            PortDestination::Interceptors(listener, _) => (WIRED, Some(listener.to_string())),
            PortDestination::Unchanged | PortDestination::Pods => (FALLBACK, None),
        };
        return Some(annotations([
            (STATE, Some(state)),
            (FALLBACK_SERVICE, Some(&wire.fallback)),
            (SCALED_OBJECT, Some(&wire.owner.id.name)),
            (LISTENER_PORT, listener.as_deref()),
        ]));
    }
    let own = inputs.world.own().get(inputs.key)?;
    let named = |slice: &&EndpointSlice| annotation(slice, FALLBACK_SERVICE).is_some();
    let before = own.values().filter(named).find(|slice| serves(slice, port));
    let before = before.or_else(|| own.values().find(named))?;
    Some(annotations([
        (STATE, Some(RELEASED)),
        (FALLBACK_SERVICE, annotation(before, FALLBACK_SERVICE)),
        (SCALED_OBJECT, annotation(before, SCALED_OBJECT)),
    ]))
}

fn interceptor_chunks(
    listener: u16,
    port: &PortFacts,
    family: IpFamily,
    accepting: &[ListeningPod],
) -> Vec<SliceChunk> {
    let endpoints = accepting.iter().filter_map(|one| {
        let address = one.pod.addresses.iter().find(|address| family.contains(address))?;
        Some(Endpoint {
            addresses: vec![address.to_string()],
            conditions: Some(EndpointConditions {
                ready: Some(true),
                serving: Some(true),
                terminating: Some(false),
            }),
            node_name: one.pod.node.clone(),
            zone: one.pod.zone.clone(),
            ..Endpoint::default()
        })
    });
    let mut endpoints: Vec<Endpoint> = endpoints.collect();
    endpoints.sort_by(|one, other| one.addresses.cmp(&other.addresses));
    endpoints.dedup_by(|one, other| one.addresses == other.addresses);
    let chunks = endpoints.chunks(ENDPOINTS).map(|endpoints| SliceChunk {
        number: listener,
        app_protocol: port.app_protocol.clone(),
        endpoints: endpoints.to_vec(),
    });
    chunks.collect()
}

/// Divided as Kubernetes has divided them, so that one pod that is added or removed changes one slice.
fn pod_chunks(inputs: &SliceInputs<'_>, fallback: &str, port: &PortFacts, family: IpFamily) -> Vec<SliceChunk> {
    let key = sibling(inputs.key, fallback);
    let Some(sibling) = inputs.world.service(&key).and_then(|facts| facts.port_like(port)) else {
        return Vec::new();
    };
    let mut chunks = Vec::new();
    for slice in inputs.world.others(&key) {
        let ports = slice.ports.iter().flatten();
        let mut ports = ports.filter(|port| is_port(port, sibling));
        let Some((target, number)) = ports.find_map(|port| Some((port, u16::try_from(port.port?).ok()?))) else {
            continue;
        };
        if slice.address_type != family.address_type() {
            continue;
        }
        let pods = slice
            .endpoints
            .iter()
            .filter(|endpoint| is_pod(endpoint, inputs.interceptors));
        let pods: Vec<Endpoint> = pods.map(without_topology).collect();
        chunks.extend(pods.chunks(ENDPOINTS).map(|pods| SliceChunk {
            number,
            app_protocol: target.app_protocol.clone(),
            endpoints: pods.to_vec(),
        }));
    }
    chunks
}

/// An interceptor is never a pod of the workload, whatever the slice contains.
fn is_pod(endpoint: &Endpoint, interceptors: &BTreeSet<IpAddr>) -> bool {
    let mut addresses = endpoint.addresses.iter().filter_map(|address| address.parse().ok());
    !addresses.any(|address: IpAddr| interceptors.contains(&address))
}

/// The API server does not accept the deprecated topology in new slices.
fn without_topology(endpoint: &Endpoint) -> Endpoint {
    Endpoint {
        deprecated_topology: None,
        ..endpoint.clone()
    }
}

fn slice(
    key: &ServiceKey,
    facts: &ServiceFacts,
    (port, family, index): (&PortFacts, IpFamily, usize),
    annotations: &Annotations,
    chunk: SliceChunk,
) -> EndpointSlice {
    EndpointSlice {
        metadata: ObjectMeta {
            name: Some(name(key, port, family, index)),
            namespace: Some(key.namespace.clone()),
            labels: Some(labels(key)),
            annotations: Some(annotations.clone()),
            owner_references: Some(vec![OwnerReference {
                api_version: "v1".to_owned(),
                kind: "Service".to_owned(),
                name: key.name.clone(),
                uid: facts.uid.clone(),
                ..OwnerReference::default()
            }]),
            ..ObjectMeta::default()
        },
        address_type: family.address_type().to_owned(),
        endpoints: chunk.endpoints,
        ports: Some(vec![EndpointPort {
            name: Some(port.name.clone()),
            port: Some(chunk.number.into()),
            protocol: Some(port.protocol.clone()),
            app_protocol: chunk.app_protocol,
        }]),
    }
}

fn name(key: &ServiceKey, port: &PortFacts, family: IpFamily, index: usize) -> String {
    let name = format!("{}-keda-http-{}-{}", key.name, port.label(), family.suffix());
    if index == 0 { name } else { format!("{name}-{index}") }
}

fn labels(key: &ServiceKey) -> BTreeMap<String, String> {
    BTreeMap::from([
        (SERVICE_NAME.to_owned(), key.name.clone()),
        (MANAGED_BY.to_owned(), MANAGER.to_owned()),
    ])
}

/// The entries that have a value.
fn annotations<const N: usize>(entries: [(&str, Option<&str>); N]) -> Annotations {
    let given = entries.into_iter().filter_map(|(key, value)| Some((key, value?)));
    given.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// Whether the slice is for this port of its Service.
fn serves(slice: &EndpointSlice, port: &PortFacts) -> bool {
    slice.ports.iter().flatten().any(|known| is_port(known, port))
}

fn is_port(port: &EndpointPort, of_service: &PortFacts) -> bool {
    let protocol = port.protocol.as_deref().unwrap_or("TCP");
    port.name.as_deref().unwrap_or_default() == of_service.name && protocol == of_service.protocol
}

/// Whether a slice is as it should be. Labels and annotations that others added are ignored.
fn matches(current: &EndpointSlice, desired: &EndpointSlice) -> bool {
    let ours = |slice: &EndpointSlice| {
        let annotations = [STATE, FALLBACK_SERVICE, SCALED_OBJECT, LISTENER_PORT];
        annotations.map(|key| annotation(slice, key).map(ToOwned::to_owned))
    };
    let labels = |slice: &EndpointSlice| {
        let labels = slice.metadata.labels.as_ref();
        [SERVICE_NAME, MANAGED_BY].map(|key| labels.and_then(|labels| labels.get(key)).cloned())
    };
    let owners = |slice: &EndpointSlice| {
        let owners = slice.metadata.owner_references.iter().flatten();
        owners.map(|owner| owner.uid.clone()).collect::<Vec<_>>()
    };
    (&current.address_type, &current.endpoints, &current.ports)
        == (&desired.address_type, &desired.endpoints, &desired.ports)
        && (ours(current), labels(current), owners(current)) == (ours(desired), labels(desired), owners(desired))
}
