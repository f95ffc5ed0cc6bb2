//! ScaledObjects that were there before the webhook, or came while it was away, are converted where they stand.
//!
//! What is converted already is not touched, so nothing is written when a tool applies `kedify-http` again and the webhook
//! has converted it on the way in.

use anyhow::Result;
use keda_http_kubernetes::conversion::{Conversion, convert};
use keda_http_kubernetes::object::{Kind, Object, ObjectId};
use keda_http_kubernetes::resources::ScaledObject;
use keda_http_kubernetes::source::Change;
use kube::api::{Api, Patch, PatchParams};
use kube::core::Status;
use kube::{Client, Error};
use tracing::{debug, info};

use super::context::{Context, Update, Updates};
use super::refusal::{Refused, refusal};
use crate::events::Events;

const REFUSED: &str = "TriggerRefused";
/// The API server, or another webhook, does not take the conversion.
const NOT_TAKEN: &str = "ConversionRefused";

/// Converts until the updates end.
///
/// # Errors
/// When the API server does not take a patch.
pub async fn run(context: Context, mut updates: Updates) -> Result<()> {
    let mut controller = Controller {
        events: Events::new(context.client.clone()),
        refused: Refused::default(),
        context,
    };
    loop {
        tokio::select! {
            update = updates.recv() => match update {
                Some(Update::Changed(changes)) => {
                    for change in changes.iter() {
                        controller.take(change).await?;
                    }
                }
                Some(Update::Complete) => {}
                None => return Ok(()),
            },
            objects = controller.refused.due() => {
                for id in objects {
                    controller.again(&id).await?;
                }
            }
        }
    }
}

struct Controller {
    context: Context,
    events: Events,
    refused: Refused,
}

impl Controller {
    async fn take(&mut self, change: &Change) -> Result<()> {
        match change {
            Change::Apply(Object::ScaledObject(object)) => self.see(object).await,
            Change::Delete(id) if id.kind == Kind::ScaledObject => {
                self.events.forget(id);
                self.refused.remove(id);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn see(&mut self, object: &ScaledObject) -> Result<()> {
        if object.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        let id = Object::ScaledObject(Box::new(object.clone())).id();
        let uid = object.metadata.uid.clone();
        match convert(object, &self.context.scaler_address) {
            Ok(conversion) => {
                self.events.settled(&id, REFUSED);
                self.write(&id, uid, &conversion).await
            }
            Err(errors) => {
                let each: Vec<String> = errors.iter().map(ToString::to_string).collect();
                let note = format!(
                    "KEDA is not told of this trigger until it is mended: {}",
                    each.join("; ")
                );
                self.events.warn(&id, uid, REFUSED, note).await;
                Ok(())
            }
        }
    }

    async fn write(&mut self, id: &ObjectId, uid: Option<String>, conversion: &Conversion) -> Result<()> {
        let written = match conversion.triggers.is_empty() {
            true => Ok(()),
            false => write(&self.context.client, id, conversion).await,
        };
        let Err(error) = written else {
            self.events.settled(id, NOT_TAKEN);
            self.refused.remove(id);
            return Ok(());
        };
        let Some(reason) = refusal(&error) else {
            return Err(error.into());
        };
        let note = format!("it cannot be converted for KEDA: {reason}");
        self.events.warn(id, uid, NOT_TAKEN, note).await;
        self.refused.insert(id.clone());
        Ok(())
    }

    async fn again(&mut self, id: &ObjectId) -> Result<()> {
        let objects: Api<ScaledObject> = Api::namespaced(self.context.client.clone(), &id.namespace);
        match objects.get_opt(&id.name).await? {
            Some(object) => self.see(&object).await,
            None => Ok(()),
        }
    }
}

async fn write(client: &Client, id: &ObjectId, conversion: &Conversion) -> Result<(), Error> {
    let operations = serde_json::to_vec(&conversion.patch()).map_err(Error::SerdeError)?;
    let patch: Patch<ScaledObject> = Patch::Json(serde_json::from_slice(&operations).map_err(Error::SerdeError)?);
    let objects: Api<ScaledObject> = Api::namespaced(client.clone(), &id.namespace);
    let parameters = PatchParams {
        field_manager: Some("keda-http-admission".to_owned()),
        ..PatchParams::default()
    };
    match objects.patch(&id.name, &parameters, &patch).await {
        Ok(_) => info!(object = %id, "converted for KEDA"),
        // It has changed or gone meanwhile; its next change is told, too.
        Err(Error::Api(status)) if matches!(status.code, 404 | 409) || changed_meanwhile(&status) => {
            debug!(object = %id, %status, "not converted");
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

/// The patch begins with tests of what it was made for; the API server says which one failed in words only.
fn changed_meanwhile(status: &Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let mut words = causes.map(|cause| &cause.message).chain([&status.message]);
    status.code == 422 && words.any(|words| words.contains("test failed"))
}
