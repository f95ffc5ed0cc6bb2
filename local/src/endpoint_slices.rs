//! Plays the EndpointSlice controller: a slice for each ready replica of each Service that selects it.
//!
//! One slice for each replica and not one for all: on one machine every replica has a port of its own, and ports belong
//! to the slice.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ObjectReference, Service, ServicePort};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use keda_http_kubernetes::endpoints::SERVICE_NAME;
use parking_lot::Mutex;

use crate::Key;
use crate::workload::environment::PodPorts;
use crate::workload::{TargetPort, matches};

#[derive(Debug, Clone, PartialEq)]
pub struct ReadyPod {
    pub key: Key,
    pub labels: BTreeMap<String, String>,
    pub ports: PodPorts,
}

/// The slices in the run directory. Cheap to clone.
#[derive(Debug, Clone)]
pub struct EndpointSlices {
    directory: Arc<Path>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    services: Vec<Service>,
    pods: BTreeMap<Key, ReadyPod>,
    written: HashMap<PathBuf, String>,
}

impl EndpointSlices {
    /// Writes into this directory, which must exist.
    pub fn new(directory: &Path) -> Self {
        Self {
            directory: directory.into(),
            state: Arc::default(),
        }
    }

    pub fn set_services(&self, services: Vec<Service>) {
        self.change(|state| state.services = services);
    }

    pub fn mark_ready(&self, pod: ReadyPod) {
        self.change(|state| state.pods.insert(pod.key.clone(), pod));
    }

    pub fn mark_not_ready(&self, pod: &Key) {
        self.change(|state| state.pods.remove(pod));
    }

    /// Sorted by name.
    pub fn services_selecting(&self, namespace: &str, labels: &BTreeMap<String, String>) -> Vec<Service> {
        let state = self.state.lock();
        let selecting = state
            .services
            .iter()
            .filter(|service| selects(service, namespace, labels));
        let mut services: Vec<Service> = selecting.cloned().collect();
        services.sort_by(|one, other| one.metadata.name.cmp(&other.metadata.name));
        services
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) {
        let mut state = self.state.lock();
        change(&mut state);
        if let Err(error) = state.write(&self.directory) {
            tracing::error!(directory = %self.directory.display(), %error, "cannot write EndpointSlices");
        }
    }
}

impl State {
    fn wanted(&self) -> impl Iterator<Item = EndpointSlice> {
        let pairs = self
            .services
            .iter()
            .flat_map(|service| self.pods.values().map(move |pod| (service, pod)));
        pairs.filter_map(|(service, pod)| slice(service, pod))
    }

    /// Files that differ are replaced by rename, so that no reader ever sees half of one.
    fn write(&mut self, directory: &Path) -> io::Result<()> {
        let mut wanted = HashMap::new();
        for slice in self.wanted() {
            let metadata = &slice.metadata;
            let name = format!("{}.json", Key::from_metadata(metadata).to_string().replace('/', "."));
            wanted.insert(directory.join(name), serde_json::to_string_pretty(&slice)?);
        }
        for path in self.written.keys().filter(|path| !wanted.contains_key(*path)) {
            std::fs::remove_file(path)?;
        }
        for (path, text) in wanted
            .iter()
            .filter(|(path, text)| self.written.get(*path) != Some(*text))
        {
            replace(directory, path, text)?;
        }
        self.written = wanted;
        Ok(())
    }
}

fn replace(directory: &Path, path: &Path, text: &str) -> io::Result<()> {
    let mut file = tempfile::Builder::new().prefix(".").tempfile_in(directory)?;
    file.write_all(text.as_bytes())?;
    file.persist(path)?;
    Ok(())
}

/// Whether the Service stands for a name outside, and not for pods.
pub fn is_external(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    spec.is_some_and(|spec| spec.type_.as_deref() == Some("ExternalName"))
}

pub fn selects(service: &Service, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    !is_external(service)
        && Key::from_metadata(&service.metadata).namespace == namespace
        && selector.is_some_and(|selector| matches(selector, labels))
}

/// The slice of a replica for a Service; `None` when the Service does not select it.
pub fn slice(service: &Service, pod: &ReadyPod) -> Option<EndpointSlice> {
    if !selects(service, &pod.key.namespace, &pod.labels) {
        return None;
    }
    let service_name = Key::from_metadata(&service.metadata).name;
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_ref());
    let label = (SERVICE_NAME.to_owned(), service_name.clone());
    Some(EndpointSlice {
        metadata: ObjectMeta {
            name: Some(format!("{service_name}-{}", pod.key.name)),
            namespace: Some(pod.key.namespace.clone()),
            labels: Some(BTreeMap::from([label])),
            ..ObjectMeta::default()
        },
        address_type: "IPv4".to_owned(),
        ports: Some(
            ports
                .into_iter()
                .flatten()
                .filter_map(|port| endpoint_port(port, &pod.ports))
                .collect(),
        ),
        endpoints: vec![endpoint(pod)],
    })
}

fn endpoint_port(port: &ServicePort, ports: &PodPorts) -> Option<EndpointPort> {
    let number = ports.find(&target(port)?)?;
    Some(EndpointPort {
        name: Some(port.name.clone().unwrap_or_default()),
        port: Some(i32::from(number)),
        protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())),
        app_protocol: port.app_protocol.clone(),
    })
}

/// The container's port that a Service's port leads to: `targetPort`, or the same number.
pub fn target(port: &ServicePort) -> Option<TargetPort> {
    match &port.target_port {
        Some(target) => TargetPort::read(target),
        None => TargetPort::read(&IntOrString::Int(port.port)),
    }
}

fn endpoint(pod: &ReadyPod) -> Endpoint {
    Endpoint {
        addresses: vec!["127.0.0.1".to_owned()],
        conditions: Some(EndpointConditions {
            ready: Some(true),
            serving: Some(true),
            terminating: Some(false),
        }),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: Some(pod.key.namespace.clone()),
            name: Some(pod.key.name.clone()),
            ..ObjectReference::default()
        }),
        ..Endpoint::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(yaml: &str) -> Service {
        serde_saphyr::from_str(yaml).unwrap()
    }

    fn hello() -> Service {
        service(
            "{metadata: {name: hello}, spec: {selector: {app: hello}, ports: [{name: web, port: 80, targetPort: http}, \
             {name: admin, port: 9000}, {name: lost, port: 1, targetPort: nowhere}]}}",
        )
    }

    fn pod(name: &str) -> ReadyPod {
        ReadyPod {
            key: Key::new("default", name),
            labels: BTreeMap::from([("app".to_owned(), "hello".to_owned())]),
            ports: PodPorts {
                by_number: BTreeMap::from([(8080, 11111), (9000, 22222)]),
                by_name: BTreeMap::from([("http".to_owned(), 11111)]),
                main: 11111,
            },
        }
    }

    #[test]
    fn a_port_is_found_by_name_by_number_and_by_the_services_own_number() {
        let slice = slice(&hello(), &pod("hello-1")).unwrap();
        let ports: Vec<(String, i32)> = slice
            .ports
            .unwrap()
            .into_iter()
            .map(|port| (port.name.unwrap(), port.port.unwrap()))
            .collect();
        assert_eq!(ports, [("web".to_owned(), 11111), ("admin".to_owned(), 22222)]);
        assert_eq!(slice.metadata.labels.unwrap()["kubernetes.io/service-name"], "hello");
        assert_eq!(slice.endpoints[0].addresses, ["127.0.0.1"]);
    }

    #[test]
    fn only_services_that_select_the_replica_get_a_slice() {
        let others = [
            "{metadata: {name: a}, spec: {ports: [{port: 80}]}}",
            "{metadata: {name: a}, spec: {selector: {}, ports: [{port: 80}]}}",
            "{metadata: {name: a}, spec: {selector: {app: other}, ports: [{port: 80}]}}",
            "{metadata: {name: a, namespace: elsewhere}, spec: {selector: {app: hello}, ports: [{port: 80}]}}",
            "{metadata: {name: a}, spec: {type: ExternalName, selector: {app: hello}, ports: [{port: 80}]}}",
        ];
        for other in others {
            assert_eq!(slice(&service(other), &pod("hello-1")), None, "{other}");
        }
    }

    fn files(directory: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(directory).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn slices_come_and_go_with_replicas_and_services() {
        let directory = tempfile::tempdir().unwrap();
        let slices = EndpointSlices::new(directory.path());
        slices.mark_ready(pod("hello-1"));
        assert!(files(directory.path()).is_empty());
        slices.set_services(vec![hello()]);
        slices.mark_ready(pod("hello-2"));
        assert_eq!(
            files(directory.path()),
            ["default.hello-hello-1.json", "default.hello-hello-2.json"]
        );
        slices.mark_not_ready(&Key::new("default", "hello-1"));
        assert_eq!(files(directory.path()), ["default.hello-hello-2.json"]);
        slices.set_services(Vec::new());
        assert!(files(directory.path()).is_empty());
    }

    #[test]
    fn what_is_written_is_read_back_as_an_endpoint_slice() {
        let directory = tempfile::tempdir().unwrap();
        let slices = EndpointSlices::new(directory.path());
        slices.set_services(vec![hello()]);
        slices.mark_ready(pod("hello-1"));
        let text = std::fs::read_to_string(directory.path().join("default.hello-hello-1.json")).unwrap();
        let object = keda_http_kubernetes::object::Object::parse(&serde_json::from_str(&text).unwrap()).unwrap();
        assert_eq!(object.unwrap().id().to_string(), "EndpointSlice default/hello-hello-1");
    }
}
