//! The state of the cluster that autowire decides by.

mod facts;

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use keda_http_core::route::{Route, ServiceRef};
use keda_http_core::target::TargetKey;
use keda_http_kubernetes::endpoints::{SERVICE_NAME, ServiceKey};
use keda_http_kubernetes::index::Index;
use keda_http_kubernetes::listeners::{self, CONFIG_MAP, Listeners};
use keda_http_kubernetes::object::{Kind, Object, ObjectId};
use keda_http_kubernetes::routes::{RouteChange, RouteIndex};
use keda_http_kubernetes::source::Change;
use keda_http_kubernetes::wired::is_ours;

use crate::controllers::autowire::{Impact, restored};
use crate::events::ObjectRef;

pub use facts::{IpFamily, PortFacts, ServiceFacts, Shape};

/// A route that asks for a Service port to be sent to the interceptors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// The key of the route.
    pub key: TargetKey,
    /// When the object was created, in seconds since 1970: the oldest object has precedence.
    pub created: i64,
    /// The Service and its port, as the trigger names it.
    pub service: ServiceRef,
    /// The Service whose pods are used without interceptors.
    pub fallback: String,
    /// The ScaledObject or HTTPScaledObject that has the route.
    pub owner: ObjectRef,
}

/// The ConfigMap of the allocated ports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PortAllocations {
    /// The allocated ports.
    pub ports: Listeners,
    /// Its resource version; `None` while there is no such ConfigMap.
    pub version: Option<String>,
    /// The value of [`restored::ANNOTATION`].
    pub restored: Option<String>,
}

/// The index of all objects that autowire follows.
#[derive(Debug, Default)]
pub(crate) struct World {
    /// The namespace of the ConfigMap.
    namespace: String,
    routes: RouteIndex,
    wants: BTreeMap<TargetKey, Want>,
    services: HashMap<ServiceKey, ServiceFacts>,
    /// Slices that autowire wrote, by Service and name.
    own: BTreeMap<ServiceKey, BTreeMap<String, EndpointSlice>>,
    /// All other slices.
    others: HashMap<ServiceKey, BTreeMap<Box<str>, PackedSlice>>,
    /// The Service of each slice.
    service_of: HashMap<ServiceKey, ServiceKey>,
    allocations: PortAllocations,
}

/// A slice as JSON, to save memory: only those of a few fallback Services are ever read.
#[derive(Debug, PartialEq)]
struct PackedSlice {
    empty: bool,
    json: Box<[u8]>,
}

impl World {
    /// `namespace`: that of the interceptors.
    pub fn new(namespace: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            ..Self::default()
        }
    }

    /// Applies the changes and returns what they mean.
    pub fn apply_all(&mut self, changes: &[Change]) -> Impact {
        let impacts = changes.iter().flat_map(|change| self.update(change));
        impacts.max().unwrap_or_default()
    }

    /// The routes that ask for a Service, by Service, the oldest first.
    pub fn wants(&self) -> BTreeMap<ServiceKey, Vec<&Want>> {
        let mut wants: BTreeMap<ServiceKey, Vec<&Want>> = BTreeMap::new();
        for want in self.wants.values() {
            wants.entry(ServiceKey::from(&want.service)).or_default().push(want);
        }
        for wants in wants.values_mut() {
            wants.sort_by_key(|want| (want.created, &want.key));
        }
        wants
    }

    /// Whether any route asks for this Service.
    pub fn is_wanted(&self, key: &ServiceKey) -> bool {
        let mut wants = self.wants_in(&key.namespace);
        wants.any(|want| want.service.service == key.name)
    }

    pub fn service(&self, key: &ServiceKey) -> Option<&ServiceFacts> {
        self.services.get(key)
    }

    /// The slices that autowire wrote, by Service and name.
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

    /// The names of slices with endpoints that others have written for the Service.
    pub fn foreign_slices(&self, key: &ServiceKey) -> Vec<&str> {
        let slices = self.others.get(key).into_iter().flatten();
        let with_endpoints = slices.filter(|(_, packed)| !packed.empty);
        with_endpoints.map(|(name, _)| &**name).collect()
    }

    pub fn allocations(&self) -> &PortAllocations {
        &self.allocations
    }

    /// Continues as if these ports had been allocated, for a dry run.
    pub fn assume_allocated(&mut self, ports: Listeners) {
        self.allocations.ports = ports;
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

    /// `object`: the one that the routes are of; `None` when it was deleted.
    fn set_wants(&mut self, changes: Vec<RouteChange>, object: Option<&Object>) -> Impact {
        let mut impact = Impact::None;
        for change in changes {
            let changed = match change {
                RouteChange::Set(route) => match want(&route, object) {
                    Some(want) => self.wants.insert(route.key.clone(), want.clone()) != Some(want),
                    None => self.wants.remove(&route.key).is_some(),
                },
                RouteChange::Remove(key) => self.wants.remove(&key).is_some(),
            };
            if changed {
                impact = Impact::Inputs;
            }
        }
        impact
    }

    fn set_slice(&mut self, id: ServiceKey, slice: &EndpointSlice) -> Impact {
        let labels = slice.metadata.labels.as_ref();
        let service = labels.and_then(|labels| labels.get(SERVICE_NAME));
        let service = service.map(|name| ServiceKey {
            namespace: id.namespace.clone(),
            name: name.clone(),
        });
        let ours = is_ours(slice);
        let known = self.own_slice(&id);
        if ours && known.is_some_and(|known| is_older(slice, known)) {
            return Impact::None;
        }
        let moved = self.service_of.get(&id) != service.as_ref() || known.is_some() != ours;
        let before = if moved { self.delete_slice(&id) } else { Impact::None };
        let Some(service) = service else { return before };
        self.service_of.insert(id.clone(), service.clone());
        if ours {
            let slices = self.own.entry(service).or_default();
            let changed = slices.get(&id.name).is_none_or(|known| differs(known, slice));
            slices.insert(id.name, slice.clone());
            return before.max(if changed { Impact::OurObjects } else { Impact::None });
        }
        let packed = PackedSlice::new(slice);
        let slices = self.others.entry(service).or_default();
        let changed = slices.get(&*id.name) != Some(&packed);
        slices.insert(id.name.into_boxed_str(), packed);
        before.max(self.inputs_if(changed, &id.namespace))
    }

    /// The slice, when autowire wrote it.
    fn own_slice(&self, id: &ServiceKey) -> Option<&EndpointSlice> {
        self.own.get(self.service_of.get(id)?)?.get(&id.name)
    }

    fn delete_slice(&mut self, id: &ServiceKey) -> Impact {
        let Some(service) = self.service_of.remove(id) else {
            return Impact::None;
        };
        if let Some(slices) = self.own.get_mut(&service)
            && slices.remove(&id.name).is_some()
        {
            if slices.is_empty() {
                self.own.remove(&service);
            }
            return Impact::OurObjects;
        }
        if let Some(slices) = self.others.get_mut(&service) {
            slices.remove(&*id.name);
            if slices.is_empty() {
                self.others.remove(&service);
            }
        }
        self.inputs_if(true, &id.namespace)
    }

    fn is_port_config_map(&self, key: &ServiceKey) -> bool {
        *key == self.port_config_map()
    }

    fn port_config_map(&self) -> ServiceKey {
        ServiceKey {
            namespace: self.namespace.clone(),
            name: CONFIG_MAP.to_owned(),
        }
    }

    fn set_allocations(&mut self, config_map: &ConfigMap) -> Impact {
        let (ports, problems) = listeners::read(config_map);
        for problem in problems {
            tracing::warn!(problem, "invalid entry ignored");
        }
        let allocations = PortAllocations {
            ports,
            version: config_map.metadata.resource_version.clone(),
            restored: restored::marker(config_map).map(ToOwned::to_owned),
        };
        let (old, new) = (&self.allocations, &allocations);
        let changed = (&old.ports, &old.restored) != (&new.ports, &new.restored) || old.version.is_none();
        self.allocations = allocations;
        if changed { Impact::Inputs } else { Impact::None }
    }

    /// Namespaces in which nothing is autowired have no effect.
    fn inputs_if(&self, changed: bool, namespace: &str) -> Impact {
        let wired = || self.own.keys().any(|key| key.namespace == namespace);
        if changed && (self.wants_in(namespace).next().is_some() || wired()) {
            Impact::Inputs
        } else {
            Impact::None
        }
    }
}

impl Index for World {
    type Effect = Impact;

    fn apply(&mut self, object: &Object) -> Vec<Impact> {
        let routes = self.routes.apply(object);
        let routes = self.set_wants(routes, Some(object));
        let key = ServiceKey::from(&object.id());
        let impact = match object {
            Object::Service(service) => {
                let facts = facts::read_service(service);
                let changed = self.services.insert(key.clone(), facts.clone()) != Some(facts);
                self.inputs_if(changed, &key.namespace)
            }
            Object::EndpointSlice(slice) => self.set_slice(key, slice),
            Object::ConfigMap(config_map) if self.is_port_config_map(&key) => self.set_allocations(config_map),
            _ => Impact::None,
        };
        vec![routes.max(impact)]
    }

    fn delete(&mut self, id: &ObjectId) -> Vec<Impact> {
        let routes = self.routes.delete(id);
        let routes = self.set_wants(routes, None);
        let key = ServiceKey::from(id);
        let impact = match id.kind {
            Kind::Service => {
                let changed = self.services.remove(&key).is_some();
                self.inputs_if(changed, &key.namespace)
            }
            Kind::EndpointSlice => self.delete_slice(&key),
            Kind::ConfigMap if self.is_port_config_map(&key) => {
                self.allocations = PortAllocations::default();
                Impact::Inputs
            }
            _ => Impact::None,
        };
        vec![routes.max(impact)]
    }

    fn ids(&self, kind: Kind) -> Vec<ObjectId> {
        let keys: Vec<ServiceKey> = match kind {
            Kind::Service => self.services.keys().cloned().collect(),
            Kind::EndpointSlice => self.service_of.keys().cloned().collect(),
            Kind::ConfigMap if self.allocations.version.is_some() => vec![self.port_config_map()],
            _ => return self.routes.ids(kind),
        };
        let ids = keys.into_iter();
        ids.map(|ServiceKey { namespace, name }| ObjectId { kind, namespace, name })
            .collect()
    }
}

impl PackedSlice {
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

fn want(route: &Route, object: Option<&Object>) -> Option<Want> {
    let name = route.key.name();
    let name = name.split_once(':').map_or(name, |(name, _)| name);
    Some(Want {
        key: route.key.clone(),
        created: route.created,
        service: ServiceRef::clone(route.autowired.as_deref()?),
        fallback: route.upstream.service.clone(),
        owner: ObjectRef {
            id: ObjectId {
                kind: object.map_or(Kind::ScaledObject, Object::kind),
                namespace: route.key.namespace().to_owned(),
                name: name.to_owned(),
            },
            uid: object.and_then(|object| object.metadata().uid.clone()),
        },
    })
}

/// Our own writes come back through the watch, so an older version can arrive after a newer one is known.
fn is_older(slice: &EndpointSlice, known: &EndpointSlice) -> bool {
    let version = |slice: &EndpointSlice| slice.metadata.resource_version.as_ref()?.parse::<u64>().ok();
    version(slice).is_some_and(|slice| version(known).is_some_and(|known| slice < known))
}

fn differs(known: &EndpointSlice, slice: &EndpointSlice) -> bool {
    let mut other = known.clone();
    // The API server changes the rest with each write.
    other.metadata = ObjectMeta {
        labels: known.metadata.labels.clone(),
        annotations: known.metadata.annotations.clone(),
        owner_references: known.metadata.owner_references.clone(),
        ..slice.metadata.clone()
    };
    other != *slice
}
