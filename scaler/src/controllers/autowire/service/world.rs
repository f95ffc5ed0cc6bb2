//! What is known of the cluster, as far as autowire goes.

mod facts;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use keda_http_core::route::{Route, ServiceRef};
use keda_http_core::target::TargetKey;
use keda_http_kubernetes::endpoints::{SERVICE_NAME, ServiceKey};
use keda_http_kubernetes::listeners::{self, CONFIG_MAP, Listeners};
use keda_http_kubernetes::object::{Kind, Object, ObjectId};
use keda_http_kubernetes::routes::{RouteChange, RouteIndex};
use keda_http_kubernetes::source::Change;
use keda_http_kubernetes::wired::is_ours;
use tracing::warn;

pub use facts::{Family, Port, ServiceFacts, Shape};

/// The annotation of the ConfigMap that says that all Services have been given back: see `docs/autowire.md`.
pub const RESTORED: &str = "http.keda.sh/autowire-restored";

/// A route that asks for a Service to be pointed at the data path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// The key of the route.
    pub key: TargetKey,
    /// Seconds since 1970 of the object's creation: the older one goes first.
    pub created: i64,
    /// The Service and its port, as the trigger names it.
    pub service: ServiceRef,
    /// The Service that has the pods.
    pub fallback: String,
    /// The object that made the route.
    pub owner: Owner,
}

/// An object that people look at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// A ScaledObject or HTTPScaledObject.
    pub id: ObjectId,
    /// Its UID, where it is known.
    pub uid: Option<String>,
}

/// The ConfigMap of the listeners.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListenersMap {
    /// The ports that have been given out.
    pub ports: Listeners,
    /// Its version; `None` while there is no such ConfigMap.
    pub version: Option<String>,
    /// What [`RESTORED`] says.
    pub restored: Option<String>,
}

/// What a change means for autowire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Touched {
    /// Nothing.
    Nothing,
    /// Somebody has changed a slice that is ours.
    Own,
    /// Something that decides what slices must be like.
    Ground,
}

/// The fold.
#[derive(Debug, Default)]
pub struct World {
    /// The namespace of the ConfigMap.
    namespace: String,
    routes: RouteIndex,
    wants: BTreeMap<TargetKey, Want>,
    services: HashMap<ServiceKey, ServiceFacts>,
    /// Slices that we have written, by Service and name.
    own: BTreeMap<ServiceKey, BTreeMap<String, EndpointSlice>>,
    /// All other slices.
    others: HashMap<ServiceKey, BTreeMap<Box<str>, Packed>>,
    /// The Service of each slice.
    service_of: HashMap<ServiceKey, ServiceKey>,
    listeners: ListenersMap,
}

/// A slice as text: only those of a few fallback Services are ever looked into.
#[derive(Debug, PartialEq)]
struct Packed {
    empty: bool,
    json: Box<[u8]>,
}

impl World {
    /// Nothing is known yet. `namespace`: that of the interceptors.
    pub fn new(namespace: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            ..Self::default()
        }
    }

    /// Takes a change in.
    pub fn apply(&mut self, change: &Change) -> Touched {
        let routes = self.apply_routes(change);
        let rest = match change {
            Change::Apply(object) => self.set(object),
            Change::Delete(id) => self.delete(id),
            Change::Reset(kind, objects) => self.reset(*kind, objects),
        };
        routes.max(rest)
    }

    /// Those that ask for a Service, by Service, the oldest first.
    pub fn wants(&self) -> BTreeMap<ServiceKey, Vec<&Want>> {
        let mut wants: BTreeMap<ServiceKey, Vec<&Want>> = BTreeMap::new();
        for want in self.wants.values() {
            wants.entry(key_of(&want.service)).or_default().push(want);
        }
        for wants in wants.values_mut() {
            wants.sort_by_key(|want| (want.created, &want.key));
        }
        wants
    }

    /// Whether anybody asks for this Service.
    pub fn is_wanted(&self, key: &ServiceKey) -> bool {
        let mut wants = self.wants_in(&key.namespace);
        wants.any(|want| want.service.service == key.name)
    }

    /// A Service.
    pub fn service(&self, key: &ServiceKey) -> Option<&ServiceFacts> {
        self.services.get(key)
    }

    /// The Services that have slices of ours, and these by name.
    pub fn own(&self) -> &BTreeMap<ServiceKey, BTreeMap<String, EndpointSlice>> {
        &self.own
    }

    /// The slices of a Service that others have written, by name.
    pub fn others(&self, key: &ServiceKey) -> Vec<EndpointSlice> {
        let slices = self.others.get(key).into_iter().flatten();
        slices.filter_map(|(_, packed)| packed.unpack()).collect()
    }

    /// Whether others have written slices for the Service.
    pub fn has_others(&self, key: &ServiceKey) -> bool {
        self.others.contains_key(key)
    }

    /// The slices of a Service that others have written and that lead somewhere.
    pub fn leading_elsewhere(&self, key: &ServiceKey) -> Vec<&str> {
        let slices = self.others.get(key).into_iter().flatten();
        let leading = slices.filter(|(_, packed)| !packed.empty);
        leading.map(|(name, _)| &**name).collect()
    }

    /// The ConfigMap of the listeners.
    pub fn listeners(&self) -> &ListenersMap {
        &self.listeners
    }

    /// As if these ports had been given out: for looking further than the next write.
    pub fn give_out(&mut self, ports: Listeners) {
        self.listeners.ports = ports;
    }

    fn wants_in<'a>(&'a self, namespace: &str) -> impl Iterator<Item = &'a Want> {
        let prefix = format!("{namespace}/");
        let wants = self
            .wants
            .range::<str, _>((Bound::Included(prefix.as_str()), Bound::Unbounded));
        wants
            .take_while(move |(key, _)| key.as_str().starts_with(&prefix))
            .map(|(_, want)| want)
    }

    fn apply_routes(&mut self, change: &Change) -> Touched {
        let mut touched = Touched::Nothing;
        for route in self.routes.apply(change) {
            let changed = match route {
                RouteChange::Set(route) => match want(&route, change) {
                    Some(want) => self.wants.insert(route.key.clone(), want.clone()) != Some(want),
                    None => self.wants.remove(&route.key).is_some(),
                },
                RouteChange::Remove(key) => self.wants.remove(&key).is_some(),
            };
            if changed {
                touched = Touched::Ground;
            }
        }
        touched
    }

    fn set(&mut self, object: &Object) -> Touched {
        match object {
            Object::Service(service) => {
                let key = name_of(&object.id());
                let facts = facts::of(service);
                let changed = self.services.insert(key.clone(), facts.clone()) != Some(facts);
                self.ground_if(changed, &key.namespace)
            }
            Object::EndpointSlice(slice) => self.set_slice(name_of(&object.id()), slice),
            Object::ConfigMap(config_map) if self.is_listeners(&object.id()) => self.set_listeners(config_map),
            _ => Touched::Nothing,
        }
    }

    fn delete(&mut self, id: &ObjectId) -> Touched {
        let key = name_of(id);
        match id.kind {
            Kind::Service => {
                let changed = self.services.remove(&key).is_some();
                self.ground_if(changed, &key.namespace)
            }
            Kind::EndpointSlice => self.delete_slice(&key),
            Kind::ConfigMap if self.is_listeners(id) => {
                self.listeners = ListenersMap::default();
                Touched::Ground
            }
            _ => Touched::Nothing,
        }
    }

    fn reset(&mut self, kind: Kind, objects: &[Object]) -> Touched {
        let keep: HashSet<ServiceKey> = objects.iter().map(|object| name_of(&object.id())).collect();
        let known: Vec<ServiceKey> = match kind {
            Kind::Service => self.services.keys().cloned().collect(),
            Kind::EndpointSlice => self.service_of.keys().cloned().collect(),
            _ => Vec::new(),
        };
        let gone = known.into_iter().filter(|key| !keep.contains(key));
        let gone: Vec<ServiceKey> = gone.collect();
        let gone = gone
            .into_iter()
            .map(|ServiceKey { namespace, name }| ObjectId { kind, namespace, name });
        let gone = gone.map(|id| self.delete(&id)).max();
        let set = objects.iter().map(|object| self.set(object)).max();
        gone.max(set).unwrap_or(Touched::Nothing)
    }

    fn set_slice(&mut self, id: ServiceKey, slice: &EndpointSlice) -> Touched {
        let labels = slice.metadata.labels.as_ref();
        let service = labels.and_then(|labels| labels.get(SERVICE_NAME));
        let service = service.map(|name| ServiceKey {
            namespace: id.namespace.clone(),
            name: name.clone(),
        });
        let ours = is_ours(slice);
        let known = self.known(&id);
        if ours && known.is_some_and(|known| is_older(slice, known)) {
            return Touched::Nothing;
        }
        let moved = self.service_of.get(&id) != service.as_ref() || known.is_some() != ours;
        let before = if moved {
            self.delete_slice(&id)
        } else {
            Touched::Nothing
        };
        let Some(service) = service else { return before };
        self.service_of.insert(id.clone(), service.clone());
        if ours {
            let slices = self.own.entry(service).or_default();
            let changed = slices.get(&id.name).is_none_or(|known| says_other(known, slice));
            slices.insert(id.name, slice.clone());
            return before.max(if changed { Touched::Own } else { Touched::Nothing });
        }
        let packed = Packed::new(slice);
        let slices = self.others.entry(service).or_default();
        let changed = slices.get(&*id.name) != Some(&packed);
        slices.insert(id.name.into_boxed_str(), packed);
        before.max(self.ground_if(changed, &id.namespace))
    }

    /// The slice, when it is ours.
    fn known(&self, id: &ServiceKey) -> Option<&EndpointSlice> {
        self.own.get(self.service_of.get(id)?)?.get(&id.name)
    }

    fn delete_slice(&mut self, id: &ServiceKey) -> Touched {
        let Some(service) = self.service_of.remove(id) else {
            return Touched::Nothing;
        };
        if let Some(slices) = self.own.get_mut(&service)
            && slices.remove(&id.name).is_some()
        {
            if slices.is_empty() {
                self.own.remove(&service);
            }
            return Touched::Own;
        }
        if let Some(slices) = self.others.get_mut(&service) {
            slices.remove(&*id.name);
            if slices.is_empty() {
                self.others.remove(&service);
            }
        }
        self.ground_if(true, &id.namespace)
    }

    fn is_listeners(&self, id: &ObjectId) -> bool {
        id.namespace == self.namespace && id.name == CONFIG_MAP
    }

    fn set_listeners(&mut self, config_map: &ConfigMap) -> Touched {
        let (ports, problems) = listeners::read(config_map);
        for problem in problems {
            warn!(problem, "an entry is passed over");
        }
        let annotations = config_map.metadata.annotations.as_ref();
        let listeners = ListenersMap {
            ports,
            version: config_map.metadata.resource_version.clone(),
            restored: annotations.and_then(|annotations| annotations.get(RESTORED)).cloned(),
        };
        let (old, new) = (&self.listeners, &listeners);
        let changed = (&old.ports, &old.restored) != (&new.ports, &new.restored) || old.version.is_none();
        self.listeners = listeners;
        if changed { Touched::Ground } else { Touched::Nothing }
    }

    /// What happens in namespaces where nothing is autowired decides nothing.
    fn ground_if(&self, changed: bool, namespace: &str) -> Touched {
        let wired = || self.own.keys().any(|key| key.namespace == namespace);
        if changed && (self.wants_in(namespace).next().is_some() || wired()) {
            Touched::Ground
        } else {
            Touched::Nothing
        }
    }
}

impl Packed {
    fn new(slice: &EndpointSlice) -> Self {
        let mut kept = slice.clone();
        kept.metadata = Default::default();
        kept.metadata.name.clone_from(&slice.metadata.name);
        Self {
            empty: slice.endpoints.is_empty(),
            json: serde_json::to_vec(&kept).unwrap_or_default().into_boxed_slice(),
        }
    }

    fn unpack(&self) -> Option<EndpointSlice> {
        serde_json::from_slice(&self.json).ok()
    }
}

/// The Service that a port belongs to.
pub fn key_of(service: &ServiceRef) -> ServiceKey {
    ServiceKey {
        namespace: service.namespace.clone(),
        name: service.service.clone(),
    }
}

fn name_of(id: &ObjectId) -> ServiceKey {
    ServiceKey {
        namespace: id.namespace.clone(),
        name: id.name.clone(),
    }
}

fn want(route: &Route, change: &Change) -> Option<Want> {
    let name = route.key.name();
    let name = name.split_once(':').map_or(name, |(name, _)| name);
    let object = match change {
        Change::Apply(object) => Some(object),
        Change::Reset(_, objects) => objects
            .iter()
            .find(|object| object.metadata().name.as_deref() == Some(name)),
        Change::Delete(_) => None,
    };
    Some(Want {
        key: route.key.clone(),
        created: route.created,
        service: ServiceRef::clone(route.autowired.as_deref()?),
        fallback: route.upstream.service.clone(),
        owner: Owner {
            id: ObjectId {
                kind: object.map_or(Kind::ScaledObject, Object::kind),
                namespace: route.key.namespace().to_owned(),
                name: name.to_owned(),
            },
            uid: object.and_then(|object| object.metadata().uid.clone()),
        },
    })
}

/// Our own writes come back through the watch, the older ones after the newer ones are known.
fn is_older(slice: &EndpointSlice, known: &EndpointSlice) -> bool {
    let version = |slice: &EndpointSlice| slice.metadata.resource_version.as_ref()?.parse::<u64>().ok();
    version(slice).is_some_and(|version_told| version(known).is_some_and(|known| version_told < known))
}

fn says_other(known: &EndpointSlice, slice: &EndpointSlice) -> bool {
    let metadata = |slice: &EndpointSlice| {
        let metadata = &slice.metadata;
        (
            metadata.labels.clone(),
            metadata.annotations.clone(),
            metadata.owner_references.clone(),
        )
    };
    (&known.address_type, &known.endpoints, &known.ports) != (&slice.address_type, &slice.endpoints, &slice.ports)
        || metadata(known) != metadata(slice)
}
