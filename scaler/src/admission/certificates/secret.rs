//! The Secret that all replicas share.

use std::collections::BTreeMap;

use anyhow::Result;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::{Client, Error};
use tracing::{info, warn};

use super::Names;
use super::bundle::Bundle;

/// How often a write is tried again when another replica was quicker.
const ATTEMPTS: usize = 10;

/// The Secret.
pub struct Store {
    secrets: Api<Secret>,
    names: Names,
}

impl Store {
    /// In the scaler's namespace.
    pub fn new(client: &Client, names: &Names) -> Self {
        Self {
            secrets: Api::namespaced(client.clone(), &names.namespace),
            names: names.clone(),
        }
    }

    /// What is in force now; made or renewed, and written, when that is due.
    pub async fn current(&self, now: Timestamp) -> Result<Bundle> {
        for _ in 0..ATTEMPTS {
            let found = self.secrets.get_opt(&self.names.secret).await?;
            let known = found.as_ref().and_then(|secret| self.read(secret));
            let bundle = match &known {
                Some(bundle) => bundle.renewed(self.names.hosts(), now)?,
                None => Bundle::new(self.names.hosts(), now)?,
            };
            if known.as_ref() == Some(&bundle) || self.write(found, &bundle).await? {
                return Ok(bundle);
            }
        }
        anyhow::bail!("other replicas were quicker {ATTEMPTS} times")
    }

    /// `None` when it holds nothing that can be used.
    fn read(&self, secret: &Secret) -> Option<Bundle> {
        let data = secret.data.as_ref().filter(|data| !data.is_empty())?;
        let read = Bundle::read(data);
        if let Err(error) = &read {
            warn!(
                secret = self.names.secret,
                error = format!("{error:#}"),
                "what the Secret holds cannot be used and is replaced"
            );
        }
        read.ok()
    }

    /// `false` when another replica was quicker.
    async fn write(&self, found: Option<Secret>, bundle: &Bundle) -> Result<bool> {
        let written = match found {
            Some(mut secret) => {
                secret.data.get_or_insert_with(BTreeMap::new).extend(bundle.write());
                self.secrets
                    .replace(&self.names.secret, &PostParams::default(), &secret)
                    .await
            }
            None => self.secrets.create(&PostParams::default(), &self.fresh(bundle)).await,
        };
        match written {
            Ok(_) => {
                info!(secret = self.names.secret, "new certificates for admission");
                Ok(true)
            }
            Err(Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn fresh(&self, bundle: &Bundle) -> Secret {
        Secret {
            metadata: ObjectMeta {
                name: Some(self.names.secret.clone()),
                ..ObjectMeta::default()
            },
            type_: Some("kubernetes.io/tls".to_owned()),
            data: Some(bundle.write()),
            ..Secret::default()
        }
    }
}
