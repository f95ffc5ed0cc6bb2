//! Decides what must be written, from the state of the cluster. All state but times is in the objects, so whatever was
//! written before a restart, the next plan leads to the same result.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::Duration;

use keda_http_core::route::ServiceRef;
use keda_http_kubernetes::endpoints::ServiceKey;
use keda_http_kubernetes::listeners::Listeners;
use tokio::time::Instant;

use super::health::{FIRST_REPORT_TIME, Health, InterceptorPods, PortDestination, PortState};
use super::port_allocation::{PortAllocator, PortUse, port_of};
use super::slices::{self, SliceInputs, SliceWrite, has_pods, is_wired, ports_used};
use super::survey::{Survey, Wire, port_text, sibling, survey};
use super::world::World;
use crate::controllers::autowire::restored::Mode;
use crate::events::Notice;

#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// The allocated ports, on top of this version of the ConfigMap.
    Ports(Listeners, Option<String>),
    /// A slice of this Service.
    Slice(ServiceKey, SliceWrite),
}

#[derive(Debug, Default)]
pub struct WritePlan {
    /// In the order in which they must be done.
    pub writes: Vec<Write>,
    /// The Events on users' objects.
    pub notices: Vec<Notice>,
}

#[derive(Debug)]
pub struct Planner {
    range: RangeInclusive<u16>,
    allocator: PortAllocator,
    health: Health,
}

impl Planner {
    /// `range`: the ports of interceptors that may be allocated. `debounce`: how long interceptors must be healthy, or
    /// not, before Services are switched.
    pub fn new(range: RangeInclusive<u16>, debounce: Duration, now: Instant) -> Self {
        Self {
            allocator: PortAllocator::new(range.clone()),
            range,
            health: Health::new(debounce, now + FIRST_REPORT_TIME),
        }
    }

    /// A planner that takes the current state at face value, for a dry run.
    pub fn without_debounce(range: RangeInclusive<u16>, now: Instant) -> Self {
        Self {
            health: Health::new(Duration::ZERO, now),
            ..Self::new(range, Duration::ZERO, now)
        }
    }

    pub fn plan(&mut self, world: &World, interceptors: &InterceptorPods, mode: Mode, now: Instant) -> WritePlan {
        let mut survey = survey(world);
        if mode == Mode::Restored {
            survey.wires.clear();
        }
        let allocated = self.allocate(world, &survey, interceptors, now);
        let destinations = self.destinations((world, &survey), &allocated, interceptors, now);
        let mut writes = Vec::new();
        if allocated != world.allocations().ports {
            writes.push(Write::Ports(allocated.clone(), world.allocations().version.clone()));
        }
        writes.extend(slice_writes(world, &survey, &destinations, interceptors));
        let mut notices = survey.notices;
        notices.extend(self.without_port(&survey.wires, &allocated));
        notices.extend(states(&survey.wires, &destinations));
        WritePlan { writes, notices }
    }

    /// When the passing of time alone changes the plan.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let released = self.allocator.deadline();
        released.into_iter().chain(self.health.deadline(now)).min()
    }

    fn allocate(&mut self, world: &World, survey: &Survey, interceptors: &InterceptorPods, now: Instant) -> Listeners {
        let ports = PortUse {
            allocated: &world.allocations().ports,
            needed: &wires(&survey.wires).map(|(_, wire)| wire.service.clone()).collect(),
            used: &ports_used(world),
            open: &interceptors.open(),
        };
        self.allocator.allocate(&ports, now)
    }

    fn destinations(
        &mut self,
        (world, survey): (&World, &Survey),
        allocated: &Listeners,
        interceptors: &InterceptorPods,
        now: Instant,
    ) -> BTreeMap<ServiceRef, PortDestination> {
        let mut destinations = BTreeMap::new();
        for (key, wire) in wires(&survey.wires) {
            let Some(facts) = world.service(key) else { continue };
            let listener = port_of(allocated, &self.range, &wire.service);
            let destination = match (listener, facts.families.first()) {
                (Some(listener), Some(family)) => {
                    let port = &facts.ports[wire.port];
                    let wired = is_wired(world.own().get(key), port);
                    let state = PortState {
                        service: &wire.service,
                        wired,
                        listener,
                        accepting: interceptors.accepting(listener, |address| family.contains(address)),
                        has_pods: wired || has_pods(world, &sibling(key, &wire.fallback), port),
                    };
                    self.health.destination(state, interceptors, now)
                }
                _ => PortDestination::Pods,
            };
            destinations.insert(wire.service.clone(), destination);
        }
        self.health.retain(&destinations);
        destinations
    }

    fn without_port(&self, all: &BTreeMap<ServiceKey, Vec<Wire>>, allocated: &Listeners) -> Vec<Notice> {
        let without = wires(all).filter(|(_, wire)| port_of(allocated, &self.range, &wire.service).is_none());
        let range = &self.range;
        let notices = without.map(|(key, wire)| {
            let message = format!(
                "all ports of the interceptors from {} to {} are in use, so the traffic of Service {} bypasses the interceptors: widen \
                 KEDA_HTTP_AUTOWIRE_PORTS",
                range.start(),
                range.end(),
                key.name
            );
            Notice::warning(&wire.owner, "AutowirePortsExhausted", message)
        });
        notices.collect()
    }
}

fn wires(all: &BTreeMap<ServiceKey, Vec<Wire>>) -> impl Iterator<Item = (&ServiceKey, &Wire)> {
    all.iter()
        .flat_map(|(key, wires)| wires.iter().map(move |wire| (key, wire)))
}

fn slice_writes(
    world: &World,
    survey: &Survey,
    destinations: &BTreeMap<ServiceRef, PortDestination>,
    interceptors: &InterceptorPods,
) -> Vec<Write> {
    let interceptors = interceptors.addresses();
    let destination = |wire: &Wire| {
        destinations
            .get(&wire.service)
            .cloned()
            .unwrap_or(PortDestination::Pods)
    };
    let keys: BTreeSet<&ServiceKey> = survey.wires.keys().chain(world.own().keys()).collect();
    let mut writes = Vec::new();
    for key in keys {
        let wires = survey.wires.get(key).map(Vec::as_slice).unwrap_or_default();
        let inputs = SliceInputs {
            world,
            key,
            wires,
            destination: &destination,
            interceptors: &interceptors,
        };
        writes.extend(
            slices::writes(&inputs)
                .into_iter()
                .map(|write| Write::Slice(key.clone(), write)),
        );
    }
    writes
}

/// Where each autowired port points, as Events.
fn states(all: &BTreeMap<ServiceKey, Vec<Wire>>, destinations: &BTreeMap<ServiceRef, PortDestination>) -> Vec<Notice> {
    let state = |(key, wire): (&ServiceKey, &Wire)| {
        let (service, port) = (&key.name, port_text(&wire.service.port));
        Some(match destinations.get(&wire.service)? {
            // Only a port that points to the interceptors is left unchanged.
            PortDestination::Unchanged | PortDestination::Interceptors(..) => {
                let message = format!("port {port} of Service {service} points to the interceptors");
                Notice::normal(&wire.owner, "AutowireWired", message)
            }
            PortDestination::Pods => {
                let message = format!(
                    "port {port} of Service {service} points to the pods of {}: no interceptor can accept its traffic",
                    wire.fallback
                );
                Notice::normal(&wire.owner, "AutowireFallback", message)
            }
        })
    };
    wires(all).filter_map(state).collect()
}
