//! Which objects ask for which Service port, which of them gets it, and why the others do not.

use std::collections::BTreeMap;

use keda_http_core::route::{PortRef, ServiceRef};
use keda_http_kubernetes::endpoints::ServiceKey;
use keda_http_kubernetes::object::ObjectId;

use super::world::{Shape, Want, World};
use crate::events::{Notice, ObjectRef};

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

pub fn survey(world: &World) -> Survey {
    let mut survey = Survey::default();
    for (key, wants) in world.wants() {
        let mut wires: Vec<Wire> = Vec::new();
        for want in wants {
            match check(world, &key, want, &wires) {
                Ok(wire) => survey.notices.extend(add(&mut wires, wire)),
                Err((reason, message)) => survey.notices.push(Notice::warning(&want.owner, reason, message)),
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

/// Why a Service port is not sent to the interceptors: the reason of the Event, and its message, which says what to do.
type Refusal = (&'static str, String);

fn check(world: &World, key: &ServiceKey, want: &Want, wires: &[Wire]) -> Result<Wire, Refusal> {
    let (service, text) = (&key.name, port_text(&want.service.port));
    let Some(facts) = world.service(key) else {
        let message = format!(
            "Service {service} does not exist: create it without a selector, with the ports of the fallbackService"
        );
        return Err(("AutowireNoService", message));
    };
    check_shape(service, facts.shape)?;
    let port = facts.port(&want.service.port).ok_or_else(|| {
        let has = facts.port_list();
        let message = format!("Service {service} has no TCP port {text}; it has {has}");
        ("AutowireNoPort", message)
    })?;
    check_fallback(world, key, want)?;
    match wires.iter().find(|wire| wire.port == port) {
        Some(taken) if taken.service != want.service || !is_same_object(&taken.owner, &want.owner) => {
            let ObjectId { kind, name, .. } = &taken.owner.id;
            let message = format!(
                "port {text} of Service {service} is already autowired for {kind} {name}, which is older: remove one of them"
            );
            Err(("AutowirePortTaken", message))
        }
        _ => Ok(Wire {
            port,
            service: want.service.clone(),
            fallback: want.fallback.clone(),
            owner: want.owner.clone(),
        }),
    }
}

fn check_shape(service: &str, shape: Shape) -> Result<(), Refusal> {
    let (reason, problem) = match shape {
        Shape::WithoutSelector => return Ok(()),
        Shape::WithSelector => (
            "AutowireServiceHasSelector",
            "has a selector, so Kubernetes writes its endpoints: move the selector to the fallbackService",
        ),
        Shape::Headless => (
            "AutowireServiceHeadless",
            "is headless, so clients would call the interceptors at the Service's own port: give it a cluster IP",
        ),
        Shape::ExternalName => (
            "AutowireServiceExternalName",
            "is of type ExternalName and has no endpoints: make it a ClusterIP Service without a selector",
        ),
    };
    Err((reason, format!("Service {service} {problem}")))
}

fn check_fallback(world: &World, key: &ServiceKey, want: &Want) -> Result<(), Refusal> {
    let fallback = &want.fallback;
    if *fallback == key.name {
        let message = format!(
            "service and fallbackService are both {fallback}: fallbackService must be another Service, the one that has the pods"
        );
        return Err(("AutowireFallbackIsService", message));
    }
    let sibling = sibling(key, fallback);
    if world.is_wanted(&sibling) || world.own().contains_key(&sibling) {
        let message =
            format!("fallbackService {fallback} is autowired itself: it must be the Service that has the pods");
        return Err(("AutowireFallbackAutowired", message));
    }
    match world.service(&sibling) {
        Some(facts) if facts.port(&want.service.port).is_some() => Ok(()),
        Some(facts) => {
            let (port, has) = (port_text(&want.service.port), facts.port_list());
            let message = format!(
                "fallbackService {fallback} has no TCP port {port}; it has {has}: it must have the same ports as the service"
            );
            Err(("AutowireNoFallbackPort", message))
        }
        // While a fallback Service is being recreated, the interceptors can hold the requests.
        None if world.own().contains_key(key) => Ok(()),
        None => Err(no_fallback(fallback)),
    }
}

fn no_fallback(fallback: &str) -> Refusal {
    let message = format!("fallbackService {fallback} does not exist: it must be the Service that has the pods");
    ("AutowireNoFallbackService", message)
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
        let (reason, message) = no_fallback(&wire.fallback);
        notices.push(Notice::warning(&wire.owner, reason, message));
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
