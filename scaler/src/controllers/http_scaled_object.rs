//! `HTTPScaledObject`s to ScaledObjects, as the Go add-on's operator does it.
//!
//! Each gets a ScaledObject of its name, which belongs to it and goes with it. Two annotations change that: with
//! `skip-scaledobject-creation` there is none (which is how Kedify writes them, whose ScaledObject is the owner instead), and
//! with `orphan-scaledobject` the one that is there is let go. A ScaledObject that belongs to somebody else is never touched.

use std::collections::HashMap;

use anyhow::Result;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use keda_http_kubernetes::managed_scaled_object::{SKIP_CREATION, scaled_object, target_service, target_workload};
use keda_http_kubernetes::object::{Kind, Object, ObjectId};
use keda_http_kubernetes::resources::{HttpScaledObject, ScaledObject};
use keda_http_kubernetes::source::Change;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::ApiResource;
use kube::{Client, Error, ResourceExt};
use serde_json::{Value, json};
use tracing::info;

use super::context::{Context, Update, Updates};
use super::refusal::{Refused, refusal};
use crate::events::Events;

/// The Go operator's; nothing here needs one, so that an object with it must not wait for us in vain.
const FINALIZER: &str = "httpscaledobject.http.keda.sh";
const ORPHAN: &str = "httpscaledobject.keda.sh/orphan-scaledobject";
const MANAGER: &str = "keda-http-controllers";
const REFUSED: &str = "CreateError";

struct Controller {
    context: Context,
    events: Events,
    objects: HashMap<ObjectId, Box<HttpScaledObject>>,
    /// The generation of each ScaledObject as it was last written: a change of its spec by somebody else is undone, its
    /// status is none of our business.
    written: HashMap<ObjectId, Option<i64>>,
    refused: Refused,
}

/// Follows the objects until the updates end.
///
/// # Errors
/// When the API server does not take what is written.
pub async fn run(context: Context, mut updates: Updates) -> Result<()> {
    let mut controller = Controller {
        events: Events::new(context.client.clone()),
        context,
        objects: HashMap::new(),
        written: HashMap::new(),
        refused: Refused::default(),
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
                    controller.restore(&id, None).await?;
                }
            }
        }
    }
}

impl Controller {
    async fn take(&mut self, change: &Change) -> Result<()> {
        match change {
            Change::Apply(object @ Object::HttpScaledObject(http)) => {
                let id = object.id();
                if self.objects.get(&id).is_some_and(|known| same(known, http)) {
                    return Ok(());
                }
                self.objects.insert(id.clone(), http.clone());
                self.reconcile(&id, http).await
            }
            Change::Apply(object @ Object::ScaledObject(scaled)) => {
                let id = of_kind(&object.id(), Kind::HttpScaledObject);
                let generation = scaled.metadata.generation;
                self.restore(&id, generation).await
            }
            Change::Delete(id) if id.kind == Kind::HttpScaledObject => {
                self.objects.remove(id);
                self.written.remove(id);
                self.refused.remove(id);
                self.events.forget(id);
                Ok(())
            }
            Change::Delete(id) if id.kind == Kind::ScaledObject => {
                self.restore(&of_kind(id, Kind::HttpScaledObject), None).await
            }
            _ => Ok(()),
        }
    }

    /// Its ScaledObject has changed or is gone: written again, when that was not us.
    async fn restore(&mut self, id: &ObjectId, generation: Option<i64>) -> Result<()> {
        let Some(http) = self.objects.get(id).cloned() else {
            return Ok(());
        };
        if generation.is_some() && self.written.get(id) == Some(&generation) {
            return Ok(());
        }
        self.reconcile(id, &http).await
    }

    async fn reconcile(&mut self, id: &ObjectId, http: &HttpScaledObject) -> Result<()> {
        if http.metadata.deletion_timestamp.is_some() {
            return self.release(id, http).await;
        }
        let scaled: Api<ScaledObject> = Api::namespaced(self.context.client.clone(), &id.namespace);
        let existing = scaled.get_opt(&id.name).await?;
        let owned = existing
            .as_ref()
            .is_some_and(|scaled| belongs(&scaled.metadata, &http.metadata));
        match (is_set(http, SKIP_CREATION), is_set(http, ORPHAN), existing.is_some()) {
            (true, _, _) if owned => self.remove(id, &scaled).await,
            (false, true, true) if owned => self.let_go(id, &scaled).await,
            (true, _, _) | (false, true, true) => Ok(()),
            (false, _, true) if !owned => {
                let note = format!(
                    "ScaledObject {} belongs to somebody else and is left alone; delete it, or set the annotation {SKIP_CREATION}: \"true\"",
                    id.name
                );
                self.events.warn(id, http.metadata.uid.clone(), REFUSED, note).await;
                Ok(())
            }
            (false, ..) => self.write(id, http).await,
        }
    }

    async fn write(&mut self, id: &ObjectId, http: &HttpScaledObject) -> Result<()> {
        let desired = match scaled_object(http, &self.context.scaler_address) {
            Ok(desired) => desired,
            Err(reason) => {
                self.events.warn(id, http.metadata.uid.clone(), REFUSED, reason).await;
                return Ok(());
            }
        };
        let written = match apply(&self.context.client, id, &desired).await {
            Ok(written) => written,
            Err(error) => return self.refused(id, http, error).await,
        };
        self.events.settled(id, REFUSED);
        self.refused.remove(id);
        self.written.insert(id.clone(), written.metadata.generation);
        self.tell_target(id, http).await
    }

    async fn refused(&mut self, id: &ObjectId, http: &HttpScaledObject, error: Error) -> Result<()> {
        let Some(reason) = refusal(&error) else {
            return Err(error.into());
        };
        let note = format!("its ScaledObject is refused: {reason}");
        self.events.warn(id, http.metadata.uid.clone(), REFUSED, note).await;
        self.refused.insert(id.clone());
        Ok(())
    }

    async fn tell_target(&self, id: &ObjectId, http: &HttpScaledObject) -> Result<()> {
        let (workload, service) = (target_workload(http), target_service(http));
        let status = http.status.as_ref();
        let told = status.map(|status| (status.target_workload.as_ref(), status.target_service.as_ref()));
        if told == Some((Some(&workload), Some(&service))) {
            return Ok(());
        }
        let objects: Api<HttpScaledObject> = Api::namespaced(self.context.client.clone(), &id.namespace);
        let mut told = json!({"targetWorkload": workload, "targetService": service});
        let conditions = status.map_or(&[][..], |status| &status.conditions);
        if conditions.iter().any(|condition| !condition.is_complete()) {
            // The leader's other controller writes the condition anew.
            let complete = conditions.iter().filter(|condition| condition.is_complete());
            told["conditions"] = complete.map(|condition| json!(condition)).collect();
        }
        let patch = Patch::Merge(json!({"status": told}));
        gone_is_fine(objects.patch_status(&id.name, &PatchParams::default(), &patch).await)
    }

    async fn remove(&mut self, id: &ObjectId, scaled: &Api<ScaledObject>) -> Result<()> {
        info!(object = %id, "its ScaledObject is removed, as its annotation asks");
        self.written.remove(id);
        gone_is_fine(scaled.delete(&id.name, &DeleteParams::default()).await)
    }

    async fn let_go(&mut self, id: &ObjectId, scaled: &Api<ScaledObject>) -> Result<()> {
        info!(object = %id, "its ScaledObject is let go, as its annotation asks");
        self.written.remove(id);
        let patch = Patch::Merge(json!({"metadata": {"ownerReferences": null}}));
        gone_is_fine(scaled.patch(&id.name, &PatchParams::default(), &patch).await)
    }

    /// The Go operator's finalizer would keep an object for ever.
    async fn release(&self, id: &ObjectId, http: &HttpScaledObject) -> Result<()> {
        let finalizers = http.finalizers();
        if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
            return Ok(());
        }
        let others: Vec<&String> = finalizers.iter().filter(|finalizer| *finalizer != FINALIZER).collect();
        let objects: Api<HttpScaledObject> = Api::namespaced(self.context.client.clone(), &id.namespace);
        let patch =
            Patch::Merge(json!({"metadata": {"finalizers": others, "resourceVersion": http.resource_version()}}));
        gone_is_fine(objects.patch(&id.name, &PatchParams::default(), &patch).await)
    }
}

async fn apply(client: &Client, id: &ObjectId, desired: &Value) -> Result<DynamicObject, Error> {
    let resource = ApiResource::erase::<ScaledObject>(&());
    let objects: Api<DynamicObject> = Api::namespaced_with(client.clone(), &id.namespace, &resource);
    let parameters = PatchParams::apply(MANAGER).force();
    objects.patch(&id.name, &parameters, &Patch::Apply(desired)).await
}

/// Whether nothing has changed that matters here.
fn same(known: &HttpScaledObject, new: &HttpScaledObject) -> bool {
    let meta = |object: &HttpScaledObject| {
        let metadata = &object.metadata;
        (
            metadata.generation,
            metadata.labels.clone(),
            metadata.annotations.clone(),
            metadata.deletion_timestamp.clone(),
            metadata.finalizers.clone(),
        )
    };
    known.metadata.generation.is_some() && meta(known) == meta(new)
}

fn of_kind(id: &ObjectId, kind: Kind) -> ObjectId {
    ObjectId { kind, ..id.clone() }
}

fn is_set(http: &HttpScaledObject, annotation: &str) -> bool {
    http.annotations().get(annotation).is_some_and(|value| value == "true")
}

fn belongs(scaled: &ObjectMeta, http: &ObjectMeta) -> bool {
    let owners = scaled.owner_references.iter().flatten();
    http.uid.is_some() && owners.into_iter().any(|owner| Some(&owner.uid) == http.uid.as_ref())
}

/// What has gone or changed meanwhile is told as a change of its own.
fn gone_is_fine<T>(result: Result<T, Error>) -> Result<()> {
    match result {
        Ok(_) => Ok(()),
        Err(Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
