//! Converts ScaledObjects that were created before the webhook was installed, or while it was not available.
//!
//! An object that is already converted is not written, so a tool that applies `kedify-http` again and again does not
//! cause writes here: the webhook converts it on admission.

use anyhow::Result;
use keda_http_kubernetes::conversion::{Conversion, convert};
use keda_http_kubernetes::object::{Kind, Object, ObjectId};
use keda_http_kubernetes::resources::ScaledObject;
use keda_http_kubernetes::source::Change;
use kube::api::{Api, Patch, PatchParams};
use kube::core::Status;
use kube::{Client, Error};

use super::context::{Context, Updates};
use super::refusal::{RefusedObjects, Work, refusal};
use crate::events::{Events, ObjectRef};

const TRIGGER_REFUSED: &str = "TriggerRefused";
/// The API server, or another webhook, refuses the converted object.
const CONVERSION_REFUSED: &str = "ConversionRefused";

/// Converts until the updates end.
///
/// # Errors
/// When a patch fails for a reason that is not the object's own.
pub async fn run(context: Context, mut updates: Updates) -> Result<()> {
    let mut converter = Converter {
        events: Events::new(context.client.clone()),
        refused: RefusedObjects::default(),
        context,
    };
    while let Some(work) = converter.refused.next(&mut updates).await {
        match work {
            Work::Changes(changes) => {
                for change in changes.iter() {
                    converter.apply(change).await?;
                }
            }
            Work::Retry(objects) => {
                for id in &objects {
                    converter.retry(id).await?;
                }
            }
        }
    }
    Ok(())
}

struct Converter {
    context: Context,
    events: Events,
    refused: RefusedObjects,
}

impl Converter {
    async fn apply(&mut self, change: &Change) -> Result<()> {
        match change {
            Change::Apply(applied @ Object::ScaledObject(object)) => self.convert(applied.id(), object).await,
            Change::Delete(id) if id.kind == Kind::ScaledObject => {
                self.events.forget(id);
                self.refused.remove(id);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn convert(&mut self, id: ObjectId, object: &ScaledObject) -> Result<()> {
        if object.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        let about = ObjectRef::new(id, &object.metadata);
        match convert(object, &self.context.scaler_address) {
            Ok(conversion) => {
                self.events.resolve(&about.id, TRIGGER_REFUSED);
                self.write(&about, &conversion).await
            }
            Err(errors) => {
                let each: Vec<String> = errors.iter().map(ToString::to_string).collect();
                let message = format!("KEDA does not use this trigger until it is fixed: {}", each.join("; "));
                self.events.warn(&about, TRIGGER_REFUSED, message).await;
                Ok(())
            }
        }
    }

    async fn write(&mut self, about: &ObjectRef, conversion: &Conversion) -> Result<()> {
        let id = &about.id;
        let written = match conversion.triggers.is_empty() {
            true => Ok(()),
            false => write(&self.context.client, id, conversion).await,
        };
        let Err(error) = written else {
            self.events.resolve(id, CONVERSION_REFUSED);
            self.refused.remove(id);
            return Ok(());
        };
        let Some(reason) = refusal(&error) else {
            return Err(error.into());
        };
        let message = format!("the API server refuses the trigger as converted for KEDA: {reason}");
        self.events.warn(about, CONVERSION_REFUSED, message).await;
        self.refused.insert(id.clone());
        Ok(())
    }

    async fn retry(&mut self, id: &ObjectId) -> Result<()> {
        let objects: Api<ScaledObject> = Api::namespaced(self.context.client.clone(), &id.namespace);
        match objects.get_opt(&id.name).await? {
            Some(object) => self.convert(id.clone(), &object).await,
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
        Ok(_) => tracing::info!(object = %id, "converted ScaledObject"),
        // It was changed or deleted meanwhile, and that change arrives as an update.
        Err(Error::Api(status)) if matches!(status.code, 404 | 409) || changed_meanwhile(&status) => {
            tracing::debug!(object = %id, %status, "ScaledObject changed meanwhile; not converted");
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

/// The patch begins with tests of the state that it was made for. Only the message says that a test failed.
fn changed_meanwhile(status: &Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let mut messages = causes.map(|cause| &cause.message).chain([&status.message]);
    status.code == 422 && messages.any(|message| message.contains("test failed"))
}
