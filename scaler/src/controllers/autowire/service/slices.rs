//! What the EndpointSlices of a Service must be like, and how they become so without a gap.
//!
//! Each port of the Service has slices of its own, whose names never change: leading it elsewhere is one update of one
//! object. What adds endpoints is written before what takes some away.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use keda_http_kubernetes::endpoints::{SERVICE_NAME, ServiceKey};
use keda_http_kubernetes::wired::{
    FALLBACK, FALLBACK_SERVICE, LISTENER_PORT, MANAGED_BY, MANAGER, RELEASED, SCALED_OBJECT, STATE, WIRED, annotation,
};

use super::health::{Interceptor, Traffic};
use super::survey::{Wire, behind};
use super::world::{Family, Port, ServiceFacts, Shape, World};

/// As many endpoints as Kubernetes itself puts into a slice.
const ENDPOINTS: usize = 100;

/// One write of a slice.
#[derive(Debug, Clone, PartialEq)]
pub enum SliceWrite {
    /// It becomes this. `known`: it is ours already.
    Put {
        /// What it becomes.
        slice: Box<EndpointSlice>,
        /// Whether it is there and ours.
        known: bool,
    },
    /// It goes.
    Remove {
        /// Its namespace and name.
        slice: ServiceKey,
        /// Only when the API server says itself that this Service is gone.
        only_without: Option<ServiceKey>,
    },
}

/// What the slices of one Service are decided by.
pub struct Task<'a> {
    /// What is known.
    pub world: &'a World,
    /// The Service.
    pub key: &'a ServiceKey,
    /// Its ports that are autowired.
    pub wires: &'a [Wire],
    /// Where these lead.
    pub traffic: &'a dyn Fn(&Wire) -> Traffic,
    /// The addresses of interceptors: never the pods of anything.
    pub data_path: &'a BTreeSet<IpAddr>,
}

/// The slices of ours by name.
type Own = BTreeMap<String, EndpointSlice>;

/// What a slice says of itself, and the port it is for.
struct Lead<'a> {
    state: &'static str,
    scaled_object: Option<&'a str>,
    fallback: &'a str,
    listener: Option<u16>,
}

/// A slice in the making.
struct Piece {
    number: u16,
    app_protocol: Option<String>,
    endpoints: Vec<Endpoint>,
}

/// What must be written so that the slices of the Service are as they should be; nothing when they are.
pub fn writes(task: &Task<'_>) -> Vec<SliceWrite> {
    let none = Own::new();
    let own = task.world.own().get(task.key).unwrap_or(&none);
    // With the Service its slices go by themselves.
    let Some(facts) = task.world.service(task.key) else {
        return Vec::new();
    };
    if facts.shape == Shape::WithSelector {
        // Kubernetes writes its endpoints again.
        let written = task.world.has_others(task.key);
        return if written {
            removals(task.key, own.keys(), None)
        } else {
            Vec::new()
        };
    }
    if task.wires.is_empty() {
        // What somebody has made unreadable is left as it is.
        let Some(fallback) = own.values().find_map(|slice| annotation(slice, FALLBACK_SERVICE)) else {
            return Vec::new();
        };
        let fallback = behind(task.key, fallback);
        if task.world.service(&fallback).is_none() {
            return removals(task.key, own.keys(), Some(&fallback));
        }
    }
    let mut kept = BTreeSet::new();
    let mut desired = Vec::new();
    for (index, port) in facts.ports.iter().enumerate() {
        let wire = task.wires.iter().find(|wire| wire.port == index);
        match wire.map(|wire| (task.traffic)(wire)) {
            Some(Traffic::Hold) => kept.extend(
                own.iter()
                    .filter(|(_, slice)| is_for(slice, port))
                    .map(|(name, _)| name),
            ),
            traffic => desired.extend(of_port(task, (facts, port), wire, &traffic.unwrap_or(Traffic::Pods))),
        }
    }
    ordered(task.key, own, desired, &kept)
}

/// Whether a port of the Service leads to interceptors now.
pub fn is_wired(own: Option<&Own>, port: &Port) -> bool {
    let mut slices = own.into_iter().flat_map(BTreeMap::values);
    slices.any(|slice| is_for(slice, port) && annotation(slice, STATE) == Some(WIRED))
}

/// Whether a port of the Service with the pods has one that is ready, for a port of the Service in front.
pub fn has_pods(world: &World, fallback: &ServiceKey, port: &Port) -> bool {
    let Some(behind) = world.service(fallback).and_then(|facts| facts.port_behind(port)) else {
        return false;
    };
    let ready = |endpoint: &Endpoint| {
        endpoint
            .conditions
            .as_ref()
            .is_none_or(|conditions| conditions.ready != Some(false))
    };
    let slices = world.others(fallback);
    slices
        .iter()
        .filter(|slice| is_for(slice, behind))
        .any(|slice| slice.endpoints.iter().any(ready))
}

/// The ports of interceptors that slices lead to.
pub fn listeners_used(world: &World) -> BTreeSet<u16> {
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
        slice: behind(key, name),
        only_without: only_without.cloned(),
    };
    names.map(remove).collect()
}

/// What adds endpoints first, then what has none, then what goes.
fn ordered(key: &ServiceKey, own: &Own, desired: Vec<EndpointSlice>, kept: &BTreeSet<&String>) -> Vec<SliceWrite> {
    let names: BTreeSet<String> = desired.iter().filter_map(|slice| slice.metadata.name.clone()).collect();
    let gone = own
        .keys()
        .filter(|name| !names.contains(*name) && !kept.contains(*name));
    let mut puts: Vec<SliceWrite> = Vec::new();
    let (filled, empty): (Vec<_>, Vec<_>) = desired.into_iter().partition(|slice| !slice.endpoints.is_empty());
    for slice in filled.into_iter().chain(empty) {
        let current = own.get(slice.metadata.name.as_deref().unwrap_or_default());
        if current.is_none_or(|current| !is_as(current, &slice)) {
            puts.push(SliceWrite::Put {
                slice: Box::new(slice),
                known: current.is_some(),
            });
        }
    }
    puts.extend(removals(key, gone, None));
    puts
}

fn of_port(
    task: &Task<'_>,
    (facts, port): (&ServiceFacts, &Port),
    wire: Option<&Wire>,
    traffic: &Traffic,
) -> Vec<EndpointSlice> {
    let Some(lead) = lead(task, port, wire, traffic) else {
        return Vec::new();
    };
    let mut slices = Vec::new();
    for family in &facts.families {
        let mut pieces = match traffic {
            Traffic::Interceptors(listener, taking) => of_interceptors(*listener, port, *family, taking),
            Traffic::Hold | Traffic::Pods => of_pods(task, lead.fallback, port, *family),
        };
        if pieces.is_empty() {
            // What stands in it must not be forgotten.
            pieces.push(Piece {
                number: port.number,
                app_protocol: port.app_protocol.clone(),
                endpoints: Vec::new(),
            });
        }
        let pieces = pieces.into_iter().enumerate();
        slices.extend(pieces.map(|(index, piece)| slice(task.key, facts, (port, *family, index), &lead, piece)));
    }
    slices
}

/// What the slices of a port say; `None` for a Service that was never autowired. A port nobody asks for goes with the
/// oldest of those that somebody asks for, else with what its slices say.
fn lead<'a>(task: &'a Task<'_>, port: &Port, wire: Option<&'a Wire>, traffic: &Traffic) -> Option<Lead<'a>> {
    if let Some(wire) = wire.or(task.wires.first()) {
        let (state, listener) = match traffic {
            Traffic::Interceptors(listener, _) => (WIRED, Some(*listener)),
            Traffic::Hold | Traffic::Pods => (FALLBACK, None),
        };
        return Some(Lead {
            state,
            scaled_object: Some(&wire.owner.id.name),
            fallback: &wire.fallback,
            listener,
        });
    }
    let own = task.world.own().get(task.key)?;
    let named = |slice: &&EndpointSlice| annotation(slice, FALLBACK_SERVICE).is_some();
    let before = own.values().filter(named).find(|slice| is_for(slice, port));
    let before = before.or_else(|| own.values().find(named))?;
    Some(Lead {
        state: RELEASED,
        scaled_object: annotation(before, SCALED_OBJECT),
        fallback: annotation(before, FALLBACK_SERVICE)?,
        listener: None,
    })
}

fn of_interceptors(listener: u16, port: &Port, family: Family, taking: &[Interceptor]) -> Vec<Piece> {
    let endpoints = taking.iter().filter_map(|one| {
        let address = one.addresses.iter().find(|address| family.has(address))?;
        Some(Endpoint {
            addresses: vec![address.to_string()],
            conditions: Some(EndpointConditions {
                ready: Some(true),
                serving: Some(true),
                terminating: Some(false),
            }),
            node_name: one.node.clone(),
            zone: one.zone.clone(),
            ..Endpoint::default()
        })
    });
    let mut endpoints: Vec<Endpoint> = endpoints.collect();
    endpoints.sort_by(|one, other| one.addresses.cmp(&other.addresses));
    endpoints.dedup_by(|one, other| one.addresses == other.addresses);
    let pieces = endpoints.chunks(ENDPOINTS).map(|endpoints| Piece {
        number: listener,
        app_protocol: port.app_protocol.clone(),
        endpoints: endpoints.to_vec(),
    });
    pieces.collect()
}

/// Slice by slice as Kubernetes has cut them, so that one pod that comes or goes changes one slice.
fn of_pods(task: &Task<'_>, fallback: &str, port: &Port, family: Family) -> Vec<Piece> {
    let key = behind(task.key, fallback);
    let Some(behind) = task.world.service(&key).and_then(|facts| facts.port_behind(port)) else {
        return Vec::new();
    };
    let mut pieces = Vec::new();
    for slice in task.world.others(&key) {
        let ports = slice.ports.iter().flatten();
        let mut ports = ports.filter(|port| is_port(port, behind));
        let Some((target, number)) = ports.find_map(|port| Some((port, u16::try_from(port.port?).ok()?))) else {
            continue;
        };
        if slice.address_type != family.address_type() {
            continue;
        }
        let pods = slice
            .endpoints
            .iter()
            .filter(|endpoint| is_pod(endpoint, task.data_path));
        let pods: Vec<Endpoint> = pods.map(copied).collect();
        pieces.extend(pods.chunks(ENDPOINTS).map(|pods| Piece {
            number,
            app_protocol: target.app_protocol.clone(),
            endpoints: pods.to_vec(),
        }));
    }
    pieces
}

/// An interceptor is not a pod of the workload, whatever a slice says.
fn is_pod(endpoint: &Endpoint, data_path: &BTreeSet<IpAddr>) -> bool {
    let mut addresses = endpoint.addresses.iter().filter_map(|address| address.parse().ok());
    !addresses.any(|address: IpAddr| data_path.contains(&address))
}

/// The API server keeps no topology of former versions in slices that are new to it.
fn copied(endpoint: &Endpoint) -> Endpoint {
    Endpoint {
        deprecated_topology: None,
        ..endpoint.clone()
    }
}

fn slice(
    key: &ServiceKey,
    facts: &ServiceFacts,
    (port, family, index): (&Port, Family, usize),
    lead: &Lead<'_>,
    piece: Piece,
) -> EndpointSlice {
    EndpointSlice {
        metadata: ObjectMeta {
            name: Some(name(key, port, family, index)),
            namespace: Some(key.namespace.clone()),
            labels: Some(labels(key)),
            annotations: Some(annotations(lead)),
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
        endpoints: piece.endpoints,
        ports: Some(vec![EndpointPort {
            name: Some(port.name.clone()),
            port: Some(piece.number.into()),
            protocol: Some(port.protocol.clone()),
            app_protocol: piece.app_protocol,
        }]),
    }
}

fn name(key: &ServiceKey, port: &Port, family: Family, index: usize) -> String {
    let name = format!("{}-keda-http-{}-{}", key.name, port.label(), family.suffix());
    if index == 0 { name } else { format!("{name}-{index}") }
}

fn labels(key: &ServiceKey) -> BTreeMap<String, String> {
    BTreeMap::from([
        (SERVICE_NAME.to_owned(), key.name.clone()),
        (MANAGED_BY.to_owned(), MANAGER.to_owned()),
    ])
}

fn annotations(lead: &Lead<'_>) -> BTreeMap<String, String> {
    let listener = lead.listener.map(|port| port.to_string());
    let entries = [
        (STATE, Some(lead.state.to_owned())),
        (FALLBACK_SERVICE, Some(lead.fallback.to_owned())),
        (SCALED_OBJECT, lead.scaled_object.map(ToOwned::to_owned)),
        (LISTENER_PORT, listener),
    ];
    let given = entries
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value?)));
    given.collect()
}

/// Whether the slice is for this port of its Service.
fn is_for(slice: &EndpointSlice, port: &Port) -> bool {
    slice.ports.iter().flatten().any(|known| is_port(known, port))
}

fn is_port(port: &EndpointPort, of_service: &Port) -> bool {
    let protocol = port.protocol.as_deref().unwrap_or("TCP");
    port.name.as_deref().unwrap_or_default() == of_service.name && protocol == of_service.protocol
}

/// Whether a slice is as it should be. What others have added to it is theirs.
fn is_as(current: &EndpointSlice, desired: &EndpointSlice) -> bool {
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
