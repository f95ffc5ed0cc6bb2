//! The marker that says that all Services have been restored: a leader that reads it no longer rewires any.
//!
//! It is an annotation of the listeners' ConfigMap, which every leader watches, and its value is the UID of the
//! interceptors' admin Service. So it binds every replica of the installation that was restored, and no later
//! installation.

use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use keda_http_kubernetes::listeners::CONFIG_MAP;
use keda_http_kubernetes::object::{Kind, Object, ObjectId};
use keda_http_kubernetes::source::Change;
use kube::{Api, Client};
use tokio::time::timeout;

use crate::config::AdminService;

const TIMEOUT: Duration = Duration::from_secs(10);

/// The annotation, see `docs/autowire.md`.
pub(crate) const ANNOTATION: &str = "http.keda.sh/autowire-restored";

/// Whether Services may be sent to the interceptors at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Autowire,
    /// All Services have been restored.
    Restored,
}

/// The value of the marker for this installation.
pub(crate) async fn installation(client: &Client, admin: &AdminService) -> Result<String> {
    let services: Api<Service> = Api::namespaced(client.clone(), &admin.namespace);
    let place = || format!("Service {}/{}", admin.namespace, admin.service);
    let service = timeout(TIMEOUT, services.get_opt(&admin.service)).await;
    let service = service.with_context(place)?.with_context(place)?;
    Ok(service
        .and_then(|service| service.metadata.uid)
        .unwrap_or_else(|| "unknown".to_owned()))
}

pub(crate) fn marker(config_map: &ConfigMap) -> Option<&str> {
    let annotations = config_map.metadata.annotations.as_ref()?;
    annotations.get(ANNOTATION).map(String::as_str)
}

/// The marker in the cluster, and whether it belongs to this installation.
pub(crate) struct Restored {
    client: Client,
    /// Of the ConfigMap.
    namespace: String,
    admin: AdminService,
    marker: Option<String>,
    /// The last marker that was verified.
    verified: Option<(String, Mode)>,
}

impl Restored {
    pub(crate) fn new(client: Client, namespace: &str, admin: AdminService) -> Self {
        Self {
            client,
            namespace: namespace.to_owned(),
            admin,
            marker: None,
            verified: None,
        }
    }

    /// Returns whether the marker changed.
    pub(crate) fn apply(&mut self, change: &Change) -> bool {
        match change {
            Change::Apply(object) => self.read(object),
            Change::Delete(id) => self.is_ours(id) && self.marker.take().is_some(),
            Change::Reset(Kind::ConfigMap, objects) => {
                let before = self.marker.take();
                for object in objects {
                    self.read(object);
                }
                self.marker != before
            }
            Change::Reset(..) => false,
        }
    }

    /// What the marker asks for. `None` while its owner cannot be verified: then it must be honoured, and asked again.
    pub(crate) async fn mode(&mut self) -> Option<Mode> {
        let Some(marker) = &self.marker else {
            self.verified = None;
            return Some(Mode::Autowire);
        };
        if let Some((verified, mode)) = &self.verified
            && verified == marker
        {
            return Some(*mode);
        }
        match installation(&self.client, &self.admin).await {
            Ok(installation) => {
                let ours = installation == *marker;
                let mode = if ours { Mode::Restored } else { Mode::Autowire };
                tracing::info!(ours, "restore marker found and its owner verified");
                self.verified = Some((marker.clone(), mode));
                Some(mode)
            }
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(error, "restore marker found; honouring it until its owner is verified");
                None
            }
        }
    }

    fn read(&mut self, object: &Object) -> bool {
        let Object::ConfigMap(config_map) = object else {
            return false;
        };
        let marker = marker(config_map);
        let changed = self.is_ours(&object.id()) && self.marker.as_deref() != marker;
        if changed {
            self.marker = marker.map(ToOwned::to_owned);
        }
        changed
    }

    fn is_ours(&self, id: &ObjectId) -> bool {
        id.kind == Kind::ConfigMap && id.namespace == self.namespace && id.name == CONFIG_MAP
    }
}
