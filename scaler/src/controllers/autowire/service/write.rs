//! Does the planned writes.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use keda_http_kubernetes::endpoints::ServiceKey;
use keda_http_kubernetes::listeners::{self, CONFIG_MAP, Listeners};
use keda_http_kubernetes::object::{Kind, Object, ObjectId};
use keda_http_kubernetes::source::Change;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::{Client, Error};
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use super::plan::Write;
use super::slices::SliceWrite;
use super::world::PortAllocations;
use crate::controllers::autowire::restored;

const FIELD_MANAGER: &str = "keda-http-autowire";
/// The longest time for one request.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How many Services are written at the same time.
const CONCURRENT_SERVICES: usize = 16;

#[derive(Clone)]
pub struct Writer {
    pub client: Client,
    /// The namespace of the ConfigMap.
    pub namespace: String,
}

#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("{0}: {1}")]
    Refused(String, Error),
    #[error("{0}: the API server did not answer within {TIMEOUT:?}")]
    NoAnswer(String),
    #[error("{0} exists and was not written by autowire: delete it")]
    Foreign(String),
}

#[derive(Debug, Default)]
pub struct WriteOutcome {
    /// The changes, as the API server answered.
    pub changes: Vec<Change>,
    /// The writes that failed. After a failure the other writes of the same Service are left for the next round, so
    /// that nothing is removed before its replacement exists.
    pub errors: Vec<WriteError>,
}

impl Writer {
    /// Does all writes: first the allocated ports, then the Services concurrently.
    pub async fn write(&self, writes: Vec<Write>, allocations: &PortAllocations, keep_marker: bool) -> WriteOutcome {
        let mut written = WriteOutcome::default();
        let mut services: Vec<(ServiceKey, Vec<SliceWrite>)> = Vec::new();
        for write in writes {
            match write {
                Write::Ports(ports, version) => {
                    written.record(self.write_ports(&ports, version, allocations, keep_marker).await);
                }
                Write::Slice(key, write) => match services.last_mut() {
                    Some((last, writes)) if *last == key => writes.push(write),
                    _ => services.push((key, vec![write])),
                },
            }
        }
        let services = stream::iter(services).map(|(_, writes)| self.write_service(writes));
        let mut services = services.buffer_unordered(CONCURRENT_SERVICES);
        while let Some(service) = services.next().await {
            written.changes.extend(service.changes);
            written.errors.extend(service.errors);
        }
        written
    }

    async fn write_service(&self, writes: Vec<SliceWrite>) -> WriteOutcome {
        let mut written = WriteOutcome::default();
        for write in writes {
            let outcome = match write {
                SliceWrite::Put { slice, known } => self.put(&slice, known).await.map(Some),
                SliceWrite::Remove { slice, only_without } => self.remove(&slice, only_without.as_ref()).await,
            };
            if !written.record(outcome) {
                break;
            }
        }
        written
    }

    /// Fields that others changed in our slices are overwritten; a slice that is not ours is left alone.
    async fn put(&self, slice: &EndpointSlice, known: bool) -> Result<Change, WriteError> {
        let namespace = slice.metadata.namespace.as_deref().unwrap_or_default();
        let name = slice.metadata.name.as_deref().unwrap_or_default();
        let what = format!("EndpointSlice {namespace}/{name}");
        let parameters = PatchParams {
            force: known,
            ..PatchParams::apply(FIELD_MANAGER)
        };
        let slices: Api<EndpointSlice> = Api::namespaced(self.client.clone(), namespace);
        let patch = Patch::Apply(slice);
        let outcome = send(&what, slices.patch(name, &parameters, &patch)).await;
        match outcome {
            Err(WriteError::Refused(what, Error::Api(status))) if !known && status.code == 409 => {
                Err(WriteError::Foreign(what))
            }
            outcome => {
                let slice = outcome?;
                tracing::info!(slice = what, endpoints = slice.endpoints.len(), "wrote EndpointSlice");
                Ok(Change::Apply(Object::EndpointSlice(Box::new(slice))))
            }
        }
    }

    /// `None` when the slice must stay.
    async fn remove(
        &self,
        slice: &ServiceKey,
        only_without: Option<&ServiceKey>,
    ) -> Result<Option<Change>, WriteError> {
        let (namespace, name) = (&slice.namespace, &slice.name);
        if let Some(ServiceKey { namespace, name }) = only_without {
            let services: Api<Service> = Api::namespaced(self.client.clone(), namespace);
            let what = format!("Service {namespace}/{name}");
            if send(&what, services.get_opt(name)).await?.is_some() {
                return Ok(None);
            }
        }
        let what = format!("EndpointSlice {namespace}/{name}");
        let slices: Api<EndpointSlice> = Api::namespaced(self.client.clone(), namespace);
        match send(&what, slices.delete(name, &DeleteParams::default())).await {
            Err(WriteError::Refused(_, Error::Api(status))) if status.code == 404 => {}
            outcome => {
                outcome?;
                tracing::info!(slice = what, "removed EndpointSlice");
            }
        }
        Ok(Some(Change::Delete(ObjectId {
            kind: Kind::EndpointSlice,
            namespace: namespace.clone(),
            name: name.clone(),
        })))
    }

    /// The API server refuses it when the ConfigMap has changed meanwhile.
    async fn write_ports(
        &self,
        ports: &Listeners,
        version: Option<String>,
        before: &PortAllocations,
        keep_marker: bool,
    ) -> Result<Option<Change>, WriteError> {
        let what = format!("ConfigMap {}/{CONFIG_MAP}", self.namespace);
        let config_maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        let written = match version {
            None => {
                let config_map = self.config_map(ports);
                send(&what, config_maps.create(&PostParams::default(), &config_map)).await?
            }
            Some(version) => {
                let patch = Patch::Merge(ports_patch(ports, &version, before, keep_marker));
                let parameters = PatchParams {
                    field_manager: Some(FIELD_MANAGER.to_owned()),
                    ..PatchParams::default()
                };
                send(&what, config_maps.patch(CONFIG_MAP, &parameters, &patch)).await?
            }
        };
        tracing::info!(ports = ports.len(), "wrote the allocated ports");
        Ok(Some(Change::Apply(Object::ConfigMap(Box::new(written)))))
    }

    fn config_map(&self, ports: &Listeners) -> ConfigMap {
        ConfigMap {
            metadata: ObjectMeta {
                name: Some(CONFIG_MAP.to_owned()),
                namespace: Some(self.namespace.clone()),
                ..ObjectMeta::default()
            },
            data: Some(listeners::write(ports)),
            ..ConfigMap::default()
        }
    }
}

impl WriteOutcome {
    fn record(&mut self, outcome: Result<Option<Change>, WriteError>) -> bool {
        match outcome {
            Ok(change) => {
                self.changes.extend(change);
                true
            }
            Err(error) => {
                self.errors.push(error);
                false
            }
        }
    }
}

fn ports_patch(ports: &Listeners, version: &str, before: &PortAllocations, keep_marker: bool) -> Value {
    let gone = before.ports.keys().filter(|port| !ports.contains_key(port));
    let mut data: Map<String, Value> = gone.map(|port| (port.to_string(), Value::Null)).collect();
    data.extend(
        listeners::write(ports)
            .into_iter()
            .map(|(port, service)| (port, service.into())),
    );
    let mut patch = json!({"metadata": {"resourceVersion": version}, "data": data});
    if before.restored.is_some() && !keep_marker {
        patch["metadata"]["annotations"] = json!({restored::ANNOTATION: null});
    }
    patch
}

async fn send<T>(what: &str, request: impl Future<Output = kube::Result<T>>) -> Result<T, WriteError> {
    let answer = timeout(TIMEOUT, request).await;
    let answer = answer.map_err(|_| WriteError::NoAnswer(what.to_owned()))?;
    answer.map_err(|error| WriteError::Refused(what.to_owned(), error))
}
