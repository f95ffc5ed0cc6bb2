//! The objects of a cluster, and what the API server would make of writes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use keda_http_kubernetes::endpoints::{SERVICE_NAME, ServiceKey};
use keda_http_kubernetes::listeners::{self, CONFIG_MAP, Listeners};
use keda_http_kubernetes::object::{Kind, Object, ObjectId};
use keda_http_kubernetes::source::Change;
use keda_http_kubernetes::wired::{self, is_ours};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::controllers::autowire::restored::Mode;
use crate::controllers::autowire::service::health::{InterceptorPods, ListeningPod};
use crate::controllers::autowire::service::plan::{Planner, Write, WritePlan};
use crate::controllers::autowire::service::slices::SliceWrite;
use crate::controllers::autowire::service::world::World;
use crate::events::Notice;
use crate::interceptors::slices::Pod;

/// Addresses by namespace, Service and port.
pub type Destinations = BTreeMap<(String, String, String), BTreeSet<String>>;

pub const OWN: &str = "keda";

/// The objects.
#[derive(Clone)]
pub struct Cluster {
    pub objects: BTreeMap<ObjectId, Object>,
    pub version: u64,
    pub interceptors: Vec<ListeningPod>,
    pub mode: Mode,
}

impl Cluster {
    /// With a ScaledObject `api` that wants Service `api` port 80, whose pods are behind Service `pods`, and one
    /// interceptor that listens wherever it should.
    pub fn new() -> Self {
        let mut cluster = Self::empty();
        cluster.apply(&scaled("api", &json!({})));
        cluster.apply(&front("api", &json!([{"name": "http", "port": 80}])));
        cluster.apply(&back(
            "pods",
            &json!([{"name": "http", "port": 80, "targetPort": 8080}]),
        ));
        cluster.apply(&pods(
            "pods-1",
            "pods",
            &json!([{"name": "http", "port": 8080}]),
            &["10.0.0.1", "10.0.0.2"],
        ));
        cluster
    }

    pub fn empty() -> Self {
        Self {
            objects: BTreeMap::new(),
            version: 1,
            interceptors: vec![interceptor("10.1.0.1")],
            mode: Mode::Autowire,
        }
    }

    pub fn apply(&mut self, document: &Value) {
        let object = Object::parse(document).unwrap().unwrap();
        self.put(object);
    }

    pub fn delete(&mut self, kind: Kind, name: &str) {
        let known = self.objects.remove(&id(kind, name));
        assert!(known.is_some(), "there is no {kind} {name}");
    }

    pub fn put(&mut self, mut object: Object) {
        self.version += 1;
        let version = Some(self.version.to_string());
        match &mut object {
            Object::EndpointSlice(slice) => slice.metadata.resource_version = version,
            Object::ConfigMap(config_map) => config_map.metadata.resource_version = version,
            _ => {}
        }
        self.objects.insert(object.id(), object);
    }

    /// What one who has just begun knows.
    pub fn world(&self) -> World {
        let mut world = World::new(OWN);
        let changes: Vec<Change> = self.objects.values().cloned().map(Change::Apply).collect();
        world.apply_all(&changes);
        world
    }

    /// The interceptors, listening on all ports that are given out.
    pub fn interceptors(&self) -> InterceptorPods {
        let open: BTreeSet<u16> = self.listeners().into_keys().collect();
        let listening = |one: &ListeningPod| ListeningPod {
            open: one.open.is_some().then(|| open.clone()),
            ..one.clone()
        };
        InterceptorPods(self.interceptors.iter().map(listening).collect())
    }

    pub fn listeners(&self) -> Listeners {
        let id = ObjectId {
            kind: Kind::ConfigMap,
            namespace: OWN.into(),
            name: CONFIG_MAP.into(),
        };
        match self.objects.get(&id) {
            Some(Object::ConfigMap(config_map)) => listeners::read(config_map).0,
            _ => Listeners::new(),
        }
    }

    /// What would be done now.
    pub fn plan(&self, planner: &mut Planner) -> WritePlan {
        planner.plan(&self.world(), &self.interceptors(), self.mode, Instant::now())
    }

    /// Does one write, as the API server would.
    pub fn write(&mut self, write: &Write) {
        match write {
            Write::Ports(ports, _) => self.apply(&json!({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": CONFIG_MAP, "namespace": OWN},
                "data": listeners::write(ports),
            })),
            Write::Slice(_, SliceWrite::Put { slice, known }) => {
                let object = Object::EndpointSlice(slice.clone());
                assert_eq!(*known, self.objects.contains_key(&object.id()), "{:?}", object.id());
                self.put(object);
            }
            Write::Slice(_, SliceWrite::Remove { slice, only_without }) => {
                let service = |key: &ServiceKey| id_in(Kind::Service, &key.namespace, &key.name);
                if only_without
                    .as_ref()
                    .is_none_or(|key| !self.objects.contains_key(&service(key)))
                {
                    let id = id_in(Kind::EndpointSlice, &slice.namespace, &slice.name);
                    assert!(self.objects.remove(&id).is_some(), "{id} is not there");
                }
            }
        }
    }

    /// Lets time pass and does all writes until there are none. Returns the writes and the last notices.
    pub async fn settle(&mut self, planner: &mut Planner) -> (Vec<Write>, Vec<Notice>) {
        let mut done = Vec::new();
        let mut quiet = 0;
        for _ in 0..50 {
            let plan = self.plan(planner);
            quiet = if plan.writes.is_empty() { quiet + 1 } else { 0 };
            for write in &plan.writes {
                self.write(write);
            }
            done.extend(plan.writes);
            if quiet > 6 {
                return (done, plan.notices);
            }
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        panic!("it never ends: {done:?}");
    }

    /// The slices of ours as `name state addresses -> port`.
    pub fn slices(&self) -> Vec<String> {
        let slices = self.objects.values().filter_map(|object| match object {
            Object::EndpointSlice(slice) if is_ours(slice) => Some(slice),
            _ => None,
        });
        let text = slices.map(|slice| {
            let addresses = slice.endpoints.iter().map(|endpoint| endpoint.addresses.join("|"));
            let addresses: Vec<String> = addresses.collect();
            format!(
                "{} {} {} -> {}",
                slice.metadata.name.as_deref().unwrap(),
                wired::annotation(slice, wired::STATE).unwrap_or("?"),
                addresses.join(","),
                slice.ports.as_ref().unwrap()[0].port.unwrap()
            )
        });
        text.collect()
    }

    /// All addresses that a Service port points to, by namespace, Service and port.
    pub fn destinations(&self) -> Destinations {
        let mut destinations = Destinations::new();
        for object in self.objects.values() {
            let Object::EndpointSlice(slice) = object else { continue };
            let service = slice.metadata.labels.as_ref().unwrap()[SERVICE_NAME].clone();
            for port in slice.ports.iter().flatten() {
                let key = (
                    object.id().namespace,
                    service.clone(),
                    port.name.clone().unwrap_or_default(),
                );
                let addresses = slice.endpoints.iter().flat_map(|endpoint| endpoint.addresses.clone());
                destinations.entry(key).or_default().extend(addresses);
            }
        }
        destinations
    }
    /// What the slices of a port say of themselves.
    fn says(&self, (namespace, service, port): &(String, String, String), key: &str) -> Option<String> {
        let slices = self.objects.values().filter_map(|object| match object {
            Object::EndpointSlice(slice) if is_ours(slice) && object.id().namespace == *namespace => Some(slice),
            _ => None,
        });
        let mut slices = slices.filter(|slice| {
            let port_slices = slice
                .ports
                .iter()
                .flatten()
                .any(|known| known.name.as_ref() == Some(port));
            port_slices && slice.metadata.labels.as_ref().unwrap()[SERVICE_NAME] == *service
        });
        slices.find_map(|slice| wired::annotation(slice, key).map(ToOwned::to_owned))
    }

    /// The interceptors' port that a port points to.
    pub fn listener(&self, port: &(String, String, String)) -> Option<u16> {
        self.says(port, wired::LISTENER_PORT)?.parse().ok()
    }

    /// The addresses of the pods behind a port.
    pub fn fallback_pods(&self, port: &(String, String, String)) -> BTreeSet<String> {
        let sibling = self.says(port, wired::FALLBACK_SERVICE);
        let key = sibling.map(|sibling| (port.0.clone(), sibling, port.2.clone()));
        key.and_then(|key| self.destinations().remove(&key)).unwrap_or_default()
    }
}

pub fn planner() -> Planner {
    Planner::new(20_000..=20_003, Duration::from_secs(1), Instant::now())
}

/// One that is ready and listens.
pub fn interceptor(address: &str) -> ListeningPod {
    let address: IpAddr = address.parse().unwrap();
    ListeningPod {
        pod: Pod {
            interceptor: SocketAddr::new(address, 9090).into(),
            addresses: vec![address],
            ready: true,
            node: Some("node-1".into()),
            zone: Some("zone-a".into()),
        },
        open: Some(BTreeSet::new()),
    }
}

pub fn id(kind: Kind, name: &str) -> ObjectId {
    id_in(kind, "shop", name)
}

fn id_in(kind: Kind, namespace: &str, name: &str) -> ObjectId {
    ObjectId {
        kind,
        namespace: namespace.into(),
        name: name.into(),
    }
}

/// A ScaledObject with an autowired trigger.
pub fn scaled(name: &str, more: &Value) -> Value {
    scaled_with(name, &[more])
}

/// A ScaledObject with autowired triggers, each with what is given besides.
pub fn scaled_with(name: &str, triggers: &[&Value]) -> Value {
    let triggers = triggers.iter().enumerate().map(|(index, more)| {
        let mut metadata = json!({
            "hosts": "api", "service": "api", "port": "80", "fallbackService": "pods", "scalingMetric": "requestRate",
            "trafficAutowire": "service",
        });
        for (key, value) in more.as_object().unwrap() {
            match value {
                Value::Null => {
                    metadata.as_object_mut().unwrap().remove(key);
                }
                value => metadata[key] = value.clone(),
            }
        }
        json!({"type": "kedify-http", "name": format!("trigger-{index}"), "metadata": metadata})
    });
    json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
        "metadata": {
            "name": name, "namespace": "shop", "uid": format!("uid-{name}"), "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {"scaleTargetRef": {"name": name}, "triggers": triggers.collect::<Value>()},
    })
}

/// A Service without a selector.
pub fn front(name: &str, ports: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": "shop", "uid": format!("uid-{name}")},
        "spec": {"ports": ports, "clusterIP": "10.96.0.1", "ipFamilies": ["IPv4"]},
    })
}

/// A Service with one.
pub fn back(name: &str, ports: &Value) -> Value {
    let mut service = front(name, ports);
    service["spec"]["selector"] = json!({"app": name});
    service
}

/// A slice that Kubernetes has written.
pub fn pods(name: &str, service: &str, ports: &Value, addresses: &[&str]) -> Value {
    let endpoints = addresses.iter().map(
        |address| json!({"addresses": [address], "conditions": {"ready": true, "serving": true, "terminating": false}}),
    );
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": name, "namespace": "shop", "labels": {"kubernetes.io/service-name": service}},
        "ports": ports, "endpoints": endpoints.collect::<Value>(),
    })
}

/// The same object in another namespace.
pub fn elsewhere(mut document: Value, namespace: &str) -> Value {
    document["metadata"]["namespace"] = json!(namespace);
    document
}
