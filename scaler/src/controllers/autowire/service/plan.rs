//! From what is known to what must be written: decisions only. Whatever was written before it stopped, the next look
//! leads to the same end, because nothing is remembered that does not stand in the objects, but times.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::Duration;

use keda_http_core::route::ServiceRef;
use keda_http_kubernetes::endpoints::ServiceKey;
use keda_http_kubernetes::listeners::Listeners;
use tokio::time::Instant;

use super::health::{Asked, DataPath, FIRST_WORD, Health, Traffic};
use super::port_allocation::{Keeper, Ports, port_of};
use super::slices::{self, SliceWrite, Task, has_pods, is_wired, listeners_used};
use super::survey::{Survey, Wire, behind, port_text, survey};
use super::world::World;
use crate::controllers::autowire::notice::Notice;

/// One write.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// The ports that are given out, on top of this version of the ConfigMap.
    Listeners(Listeners, Option<String>),
    /// A slice of this Service.
    Slice(ServiceKey, SliceWrite),
}

/// What must be done.
#[derive(Debug, Default)]
pub struct Plan {
    /// In this order.
    pub writes: Vec<Write>,
    /// What people are told.
    pub notices: Vec<Notice>,
}

/// How plans are made.
#[derive(Debug)]
pub struct Planner {
    range: RangeInclusive<u16>,
    keeper: Keeper,
    health: Health,
}

/// Whether Services may lead to the data path at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// They may.
    Autowire,
    /// All have been given back.
    Restored,
}

impl Planner {
    /// `range`: ports of interceptors that may be given out; `debounce`: how long they must be well, or unwell, before it
    /// counts.
    pub fn new(range: RangeInclusive<u16>, debounce: Duration, now: Instant) -> Self {
        Self {
            keeper: Keeper::new(range.clone()),
            range,
            health: Health::new(debounce, now + FIRST_WORD),
        }
    }

    /// One to whom everything counts as it is at the moment.
    pub fn of_the_moment(range: RangeInclusive<u16>, now: Instant) -> Self {
        Self {
            health: Health::new(Duration::ZERO, now),
            ..Self::new(range, Duration::ZERO, now)
        }
    }

    /// What must be done now.
    pub fn plan(&mut self, world: &World, data_path: &DataPath, mode: Mode, now: Instant) -> Plan {
        let mut survey = survey(world);
        if mode == Mode::Restored {
            survey.wires.clear();
        }
        let listeners = self.listeners(world, &survey, data_path, now);
        let traffic = self.traffic(world, &survey, &listeners, data_path, now);
        let mut writes = Vec::new();
        if listeners != world.listeners().ports {
            writes.push(Write::Listeners(listeners.clone(), world.listeners().version.clone()));
        }
        writes.extend(slice_writes(world, &survey, &traffic, data_path));
        let mut notices = survey.notices;
        notices.extend(self.exhausted(&survey.wires, &listeners));
        notices.extend(states(&survey.wires, &traffic));
        Plan { writes, notices }
    }

    /// When time alone makes another plan.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let released = self.keeper.deadline();
        released.into_iter().chain(self.health.deadline(now)).min()
    }

    fn listeners(&mut self, world: &World, survey: &Survey, data_path: &DataPath, now: Instant) -> Listeners {
        let ports = Ports {
            given: &world.listeners().ports,
            needed: &wires(&survey.wires).map(|(_, wire)| wire.service.clone()).collect(),
            used: &listeners_used(world),
            open: &data_path.open(),
        };
        self.keeper.next(&ports, now)
    }

    fn traffic(
        &mut self,
        world: &World,
        survey: &Survey,
        listeners: &Listeners,
        data_path: &DataPath,
        now: Instant,
    ) -> BTreeMap<ServiceRef, Traffic> {
        let mut traffic = BTreeMap::new();
        for (key, wire) in wires(&survey.wires) {
            let Some(facts) = world.service(key) else { continue };
            let listener = port_of(listeners, &self.range, &wire.service);
            let leads = match (listener, facts.families.first()) {
                (Some(listener), Some(family)) => {
                    let port = &facts.ports[wire.port];
                    let wired = is_wired(world.own().get(key), port);
                    let asked = Asked {
                        service: &wire.service,
                        wired,
                        listener,
                        taking: data_path.taking(listener, |address| family.has(address)),
                        has_pods: wired || has_pods(world, &behind(key, &wire.fallback), port),
                    };
                    self.health.traffic(asked, data_path, now)
                }
                _ => Traffic::Pods,
            };
            traffic.insert(wire.service.clone(), leads);
        }
        self.health.retain(&traffic);
        traffic
    }

    fn exhausted(&self, all: &BTreeMap<ServiceKey, Vec<Wire>>, listeners: &Listeners) -> Vec<Notice> {
        let without = wires(all).filter(|(_, wire)| port_of(listeners, &self.range, &wire.service).is_none());
        let range = &self.range;
        let notices = without.map(|(key, wire)| {
            let message = format!(
                "all ports of the interceptors from {} to {} are taken, so Service {} leads past the data path: widen KEDA_HTTP_AUTOWIRE_PORTS",
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
    traffic: &BTreeMap<ServiceRef, Traffic>,
    data_path: &DataPath,
) -> Vec<Write> {
    let data_path = data_path.addresses();
    let traffic = |wire: &Wire| traffic.get(&wire.service).cloned().unwrap_or(Traffic::Pods);
    let keys: BTreeSet<&ServiceKey> = survey.wires.keys().chain(world.own().keys()).collect();
    let mut writes = Vec::new();
    for key in keys {
        let wires = survey.wires.get(key).map(Vec::as_slice).unwrap_or_default();
        let task = Task {
            world,
            key,
            wires,
            traffic: &traffic,
            data_path: &data_path,
        };
        writes.extend(
            slices::writes(&task)
                .into_iter()
                .map(|write| Write::Slice(key.clone(), write)),
        );
    }
    writes
}

/// Where each autowired port leads, for people.
fn states(all: &BTreeMap<ServiceKey, Vec<Wire>>, traffic: &BTreeMap<ServiceRef, Traffic>) -> Vec<Notice> {
    let state = |(key, wire): (&ServiceKey, &Wire)| {
        let (service, port) = (&key.name, port_text(&wire.service.port));
        Some(match traffic.get(&wire.service)? {
            // It is only held where it leads to them.
            Traffic::Hold | Traffic::Interceptors(..) => {
                let message = format!("port {port} of Service {service} leads to the interceptors");
                Notice::normal(&wire.owner, "AutowireWired", message)
            }
            Traffic::Pods => {
                let message = format!(
                    "port {port} of Service {service} leads to the pods of {}: no interceptor takes its traffic",
                    wire.fallback
                );
                Notice::normal(&wire.owner, "AutowireFallback", message)
            }
        })
    };
    wires(all).filter_map(state).collect()
}
