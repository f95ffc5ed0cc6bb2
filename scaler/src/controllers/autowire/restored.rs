//! The mark that says that all Services have been given back: whoever reads it leads none to the data path any more.
//!
//! It stands in the ConfigMap of the listeners, which every leader watches, and names the installation that was given up by
//! the UID of the interceptors' admin Service. So it binds every replica of that installation and no later one.

use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Service;
use kube::{Api, Client};
use tokio::time::timeout;
use tracing::{info, warn};

use super::service::plan::Mode;
use crate::config::AdminService;

const TIMEOUT: Duration = Duration::from_secs(10);

/// What the mark of this installation says.
///
/// # Errors
/// When the API server does not say.
pub async fn installation(client: &Client, admin: &AdminService) -> Result<String> {
    let services: Api<Service> = Api::namespaced(client.clone(), &admin.namespace);
    let place = || format!("Service {}/{}", admin.namespace, admin.service);
    let service = timeout(TIMEOUT, services.get_opt(&admin.service)).await;
    let service = service.with_context(place)?.with_context(place)?;
    Ok(service
        .and_then(|service| service.metadata.uid)
        .unwrap_or_else(|| "unknown".to_owned()))
}

/// Whether a mark is meant for this installation; remembers the last one.
pub struct Restored {
    client: Client,
    admin: AdminService,
    known: Option<(String, Mode)>,
}

impl Restored {
    /// No mark has been seen yet.
    pub fn new(client: Client, admin: AdminService) -> Self {
        Self {
            client,
            admin,
            known: None,
        }
    }

    /// What the mark asks for. While that cannot be found out, it counts; the error is `true`, and it is to be asked again.
    pub async fn mode(&mut self, mark: Option<&str>) -> (Mode, bool) {
        let Some(mark) = mark else {
            self.known = None;
            return (Mode::Autowire, false);
        };
        if let Some((known, mode)) = &self.known
            && known == mark
        {
            return (*mode, false);
        }
        match installation(&self.client, &self.admin).await {
            Ok(installation) => {
                let meant = installation == mark;
                let mode = if meant { Mode::Restored } else { Mode::Autowire };
                info!(meant, "a mark says that all Services have been given back");
                self.known = Some((mark.to_owned(), mode));
                (mode, false)
            }
            Err(error) => {
                warn!(
                    error = format!("{error:#}"),
                    "a mark says that all Services have been given back; it counts until it is known whether it is meant for us"
                );
                (Mode::Restored, true)
            }
        }
    }
}
