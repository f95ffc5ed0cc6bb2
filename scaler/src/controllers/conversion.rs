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
use kube::{Client, Error};
use tracing::{debug, info};

use super::{Context, News, NewsReceiver};
use crate::events::Events;

const REFUSED: &str = "TriggerRefused";

/// Converts until the news end.
///
/// # Errors
/// When the API server does not take a patch.
pub async fn run(context: Context, mut news: NewsReceiver) -> Result<()> {
    let mut events = Events::new(context.client.clone());
    while let Some(news) = news.recv().await {
        let News::Changed(changes) = news else { continue };
        for change in changes.iter() {
            match change {
                Change::Apply(Object::ScaledObject(object)) => see(&context, &mut events, object).await?,
                Change::Delete(id) if id.kind == Kind::ScaledObject => events.forget(id),
                _ => {}
            }
        }
    }
    Ok(())
}

async fn see(context: &Context, events: &mut Events, object: &ScaledObject) -> Result<()> {
    if object.metadata.deletion_timestamp.is_some() {
        return Ok(());
    }
    let id = Object::ScaledObject(Box::new(object.clone())).id();
    match convert(object, &context.scaler_address) {
        Ok(conversion) => {
            events.settled(&id, REFUSED);
            write(&context.client, &id, &conversion).await
        }
        Err(errors) => {
            let each: Vec<String> = errors.iter().map(ToString::to_string).collect();
            let note = format!(
                "KEDA is not told of this trigger until it is mended: {}",
                each.join("; ")
            );
            events.warn(&id, object.metadata.uid.clone(), REFUSED, note).await;
            Ok(())
        }
    }
}

async fn write(client: &Client, id: &ObjectId, conversion: &Conversion) -> Result<()> {
    if conversion.triggers.is_empty() {
        return Ok(());
    }
    let operations = serde_json::to_vec(&conversion.patch())?;
    let patch: Patch<ScaledObject> = Patch::Json(serde_json::from_slice(&operations)?);
    let objects: Api<ScaledObject> = Api::namespaced(client.clone(), &id.namespace);
    let parameters = PatchParams {
        field_manager: Some("keda-http-admission".to_owned()),
        ..PatchParams::default()
    };
    match objects.patch(&id.name, &parameters, &patch).await {
        Ok(_) => info!(object = %id, "converted for KEDA"),
        // It has changed or gone meanwhile; its next change is told, too.
        Err(Error::Api(status)) if matches!(status.code, 404 | 409 | 422) => {
            debug!(object = %id, %status, "not converted");
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}
