//! The Secret with the certificates, which all replicas share.

use anyhow::Result;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::{Client, Error};

use super::Names;
use super::bundle::Certificates;

/// How often the Secret is read again when another replica wrote it first.
const ATTEMPTS: usize = 10;

/// The certificates in force. They are created or renewed, and written, when that is due.
pub(super) async fn load_or_renew(client: &Client, names: &Names, now: Timestamp) -> Result<Certificates> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &names.namespace);
    for _ in 0..ATTEMPTS {
        let found = secrets.get_opt(&names.secret).await?;
        let known = found.as_ref().and_then(read);
        let certificates = match &known {
            Some(certificates) => certificates.renewed(names.hosts(), now)?,
            None => Certificates::new(names.hosts(), now)?,
        };
        if known.as_ref() == Some(&certificates) || write(&secrets, &names.secret, found, &certificates).await? {
            return Ok(certificates);
        }
    }
    anyhow::bail!("other replicas changed the Secret {ATTEMPTS} times meanwhile")
}

/// `None` when the data is missing or not valid.
fn read(secret: &Secret) -> Option<Certificates> {
    let data = secret.data.as_ref().filter(|data| !data.is_empty())?;
    let read = Certificates::read(data);
    if let Err(error) = &read {
        tracing::warn!(
            secret = secret.metadata.name,
            error = format!("{error:#}"),
            "the certificates in the Secret are not valid; replacing them"
        );
    }
    read.ok()
}

/// Returns `false` when another replica wrote it first.
async fn write(secrets: &Api<Secret>, name: &str, found: Option<Secret>, certificates: &Certificates) -> Result<bool> {
    let parameters = PostParams::default();
    let exists = found.is_some();
    let mut secret = found.unwrap_or_else(|| Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        type_: Some("kubernetes.io/tls".to_owned()),
        ..Secret::default()
    });
    secret.data.get_or_insert_default().extend(certificates.write());
    let written = match exists {
        true => secrets.replace(name, &parameters, &secret).await,
        false => secrets.create(&parameters, &secret).await,
    };
    match written {
        Ok(_) => {
            tracing::info!(secret = name, "wrote new certificates for the admission webhook");
            Ok(true)
        }
        Err(Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error.into()),
    }
}
