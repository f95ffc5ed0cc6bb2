//! Which objects ask for which Service port, which of them gets it, and why the others do not.

use std::collections::BTreeMap;

use keda_http_core::route::{PortRef, ServiceRef};
use keda_http_kubernetes::endpoints::ServiceKey;

use super::world::{ServiceFacts, Shape, Want, World};
use crate::events::Notice;
use crate::events::ObjectRef;

/// A Service port that should point to the interceptors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wire {
    /// The index among the Service's ports.
    pub port: usize,
    /// The same, as the trigger names it.
    pub service: ServiceRef,
    /// The Service whose pods are used without interceptors.
    pub fallback: String,
    /// The object that asked for it.
    pub owner: ObjectRef,
}

#[derive(Debug, Default)]
pub struct Survey {
    /// By Service; of each Service those of the oldest object first.
    pub wires: BTreeMap<ServiceKey, Vec<Wire>>,
    /// Refusals and odd settings, as Events.
    pub notices: Vec<Notice>,
}

/// Why a Service port is not sent to the interceptors. Each message says what to do.
#[derive(Debug, thiserror::Error)]
enum WiringError {
    #[error("Service {0} does not exist: create it without a selector, with the ports of the fallbackService")]
    NoService(String),
    #[error("Service {0} has a selector, so Kubernetes writes its endpoints: move the selector to the fallbackService")]
    Selector(String),
    #[error(
        "Service {0} is headless, so clients would call the interceptors at the Service's own port: give it a cluster IP"
    )]
    Headless(String),
    #[error("Service {0} is of type ExternalName and has no endpoints: make it a ClusterIP Service without a selector")]
    ExternalName(String),
    #[error("Service {service} has no TCP port {port}; it has {has}")]
    NoPort { service: String, port: String, has: String },
    #[error(
        "service and fallbackService are both {0}: fallbackService must be another Service, the one that has the pods"
    )]
    Itself(String),
    #[error("fallbackService {0} does not exist: it must be the Service that has the pods")]
    NoFallback(String),
    #[error(
        "fallbackService {service} has no TCP port {port}; it has {has}: it must have the same ports as the service"
    )]
    NoFallbackPort { service: String, port: String, has: String },
    #[error("fallbackService {0} is autowired itself: it must be the Service that has the pods")]
    FallbackAutowired(String),
    #[error("port {port} of Service {service} is already autowired for {by}, which is older: remove one of them")]
    Taken { service: String, port: String, by: String },
}

impl WiringError {
    fn reason(&self) -> &'static str {
        match self {
            Self::NoService(_) => "AutowireNoService",
            Self::Selector(_) => "AutowireServiceHasSelector",
            Self::Headless(_) => "AutowireServiceHeadless",
            Self::ExternalName(_) => "AutowireServiceExternalName",
            Self::NoPort { .. } => "AutowireNoPort",
            Self::Itself(_) => "AutowireFallbackIsService",
            Self::NoFallback(_) => "AutowireNoFallbackService",
            Self::NoFallbackPort { .. } => "AutowireNoFallbackPort",
            Self::FallbackAutowired(_) => "AutowireFallbackAutowired",
            Self::Taken { .. } => "AutowirePortTaken",
        }
    }
}

pub fn survey(world: &World) -> Survey {
    let mut survey = Survey::default();
    for (key, wants) in world.wants() {
        let mut wires: Vec<Wire> = Vec::new();
        for want in wants {
            match check(world, &key, want, &wires) {
                Ok(wire) => survey.notices.extend(add(&mut wires, wire)),
                Err(error) => {
                    let notice = Notice::warning(&want.owner, error.reason(), error.to_string());
                    survey.notices.push(notice);
                }
            }
        }
        survey.notices.extend(odd_settings(world, &key, &wires));
        if !wires.is_empty() {
            survey.wires.insert(key, wires);
        }
    }
    survey
}

/// Several triggers of one object may share a port, because their routes differ by host, path or headers.
fn add(wires: &mut Vec<Wire>, wire: Wire) -> Option<Notice> {
    let Some(first) = wires.iter().find(|known| known.port == wire.port) else {
        wires.push(wire);
        return None;
    };
    if first.fallback == wire.fallback {
        return None;
    }
    let (used, other) = (&first.fallback, &wire.fallback);
    let message = format!(
        "triggers for Service {} name different fallbackServices, {used} and {other}: without healthy interceptors all its \
         traffic goes to {used}",
        wire.service.service
    );
    Some(Notice::warning(&wire.owner, "AutowireFallbacksDiffer", message))
}

fn check(world: &World, key: &ServiceKey, want: &Want, wires: &[Wire]) -> Result<Wire, WiringError> {
    let facts = world
        .service(key)
        .ok_or_else(|| WiringError::NoService(key.name.clone()))?;
    match facts.shape {
        Shape::WithoutSelector => {}
        Shape::WithSelector => return Err(WiringError::Selector(key.name.clone())),
        Shape::Headless => return Err(WiringError::Headless(key.name.clone())),
        Shape::ExternalName => return Err(WiringError::ExternalName(key.name.clone())),
    }
    let port = facts.port(&want.service.port).ok_or_else(|| WiringError::NoPort {
        service: key.name.clone(),
        port: port_text(&want.service.port),
        has: facts.port_list(),
    })?;
    check_fallback(world, key, want)?;
    match wires.iter().find(|wire| wire.port == port) {
        Some(taken) if taken.service != want.service || !is_same_object(&taken.owner, &want.owner) => {
            Err(WiringError::Taken {
                service: key.name.clone(),
                port: port_text(&want.service.port),
                by: format!("{} {}", taken.owner.id.kind, taken.owner.id.name),
            })
        }
        _ => Ok(Wire {
            port,
            service: want.service.clone(),
            fallback: want.fallback.clone(),
            owner: want.owner.clone(),
        }),
    }
}

fn check_fallback(world: &World, key: &ServiceKey, want: &Want) -> Result<(), WiringError> {
    if want.fallback == key.name {
        return Err(WiringError::Itself(key.name.clone()));
    }
    let sibling = sibling(key, &want.fallback);
    if world.is_wanted(&sibling) || world.own().contains_key(&sibling) {
        return Err(WiringError::FallbackAutowired(want.fallback.clone()));
    }
    match world.service(&sibling) {
        Some(facts) => has_port(facts, want),
        // While a fallback Service is being recreated, the interceptors can hold the requests.
        None if world.own().contains_key(key) => Ok(()),
        None => Err(WiringError::NoFallback(want.fallback.clone())),
    }
}

fn has_port(facts: &ServiceFacts, want: &Want) -> Result<(), WiringError> {
    let found = facts.port(&want.service.port).map(|_| ());
    found.ok_or_else(|| WiringError::NoFallbackPort {
        service: want.fallback.clone(),
        port: port_text(&want.service.port),
        has: facts.port_list(),
    })
}

/// Settings that are accepted, but do not do what users expect.
fn odd_settings(world: &World, key: &ServiceKey, wires: &[Wire]) -> Vec<Notice> {
    let Some(wire) = wires.first() else { return Vec::new() };
    let mut notices = Vec::new();
    let others = world.foreign_slices(key);
    if !others.is_empty() {
        let message = format!(
            "Service {} has EndpointSlices that autowire did not write, so some of its traffic bypasses the interceptors: delete {}",
            key.name,
            others.join(", ")
        );
        notices.push(Notice::warning(&wire.owner, "AutowireForeignEndpointSlices", message));
    }
    if world.service(&sibling(key, &wire.fallback)).is_none() {
        let error = WiringError::NoFallback(wire.fallback.clone());
        notices.push(Notice::warning(&wire.owner, error.reason(), error.to_string()));
    }
    notices
}

/// The key of another object in the same namespace.
pub fn sibling(key: &ServiceKey, name: &str) -> ServiceKey {
    ServiceKey {
        namespace: key.namespace.clone(),
        name: name.to_owned(),
    }
}

fn is_same_object(one: &ObjectRef, other: &ObjectRef) -> bool {
    (&one.id.namespace, &one.id.name) == (&other.id.namespace, &other.id.name)
}

/// A port as users write it.
pub fn port_text(port: &PortRef) -> String {
    match port {
        PortRef::Number(number) => number.to_string(),
        PortRef::Name(name) => name.clone(),
    }
}
