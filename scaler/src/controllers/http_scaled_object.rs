//! Creates ScaledObjects for HTTPScaledObjects, as the Go add-on's operator does.
//!
//! Each gets a ScaledObject of its name, which it owns and which is deleted with it. Two annotations change that: with
//! `skip-scaledobject-creation` none is created (Kedify writes HTTPScaledObjects like this: there the ScaledObject is
//! the owner), and with `orphan-scaledobject` the ownership of an existing one ends. A ScaledObject with another owner
//! is never changed.

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

use super::context::{Context, Updates};
use super::refusal::{RefusedObjects, Work, refusal};
use crate::events::{Events, ObjectRef};

/// The Go operator's. It is removed from objects that are being deleted, because nothing here needs it.
const FINALIZER: &str = "httpscaledobject.http.keda.sh";
const ORPHAN: &str = "httpscaledobject.keda.sh/orphan-scaledobject";
const MANAGER: &str = "keda-http-controllers";
const CREATE_ERROR: &str = "CreateError";

struct Reconciler {
    context: Context,
    events: Events,
    objects: HashMap<ObjectId, Box<HttpScaledObject>>,
    /// The generation of each ScaledObject as it was last written: changes of its spec by others are undone, changes of
    /// its status are ignored.
    written: HashMap<ObjectId, Option<i64>>,
    refused: RefusedObjects,
}

/// Reconciles until the updates end.
///
/// # Errors
/// When a request fails for a reason that is not the object's own.
pub async fn run(context: Context, mut updates: Updates) -> Result<()> {
    let mut reconciler = Reconciler {
        events: Events::new(context.client.clone()),
        context,
        objects: HashMap::new(),
        written: HashMap::new(),
        refused: RefusedObjects::default(),
    };
    while let Some(work) = reconciler.refused.next(&mut updates).await {
        match work {
            Work::Changes(changes) => {
                for change in changes.iter() {
                    reconciler.apply(change).await?;
                }
            }
            Work::Retry(objects) => {
                for id in &objects {
                    reconciler.rewrite(id, None).await?;
                }
            }
        }
    }
    Ok(())
}

impl Reconciler {
    async fn apply(&mut self, change: &Change) -> Result<()> {
        match change {
            Change::Apply(object @ Object::HttpScaledObject(http)) => {
                let id = object.id();
                if self.objects.get(&id).is_some_and(|known| is_unchanged(known, http)) {
                    return Ok(());
                }
                self.objects.insert(id.clone(), http.clone());
                self.reconcile(&id, http).await
            }
            Change::Apply(object @ Object::ScaledObject(scaled)) => {
                let id = with_kind(&object.id(), Kind::HttpScaledObject);
                let generation = scaled.metadata.generation;
                self.rewrite(&id, generation).await
            }
            Change::Delete(id) if id.kind == Kind::HttpScaledObject => {
                self.objects.remove(id);
                self.written.remove(id);
                self.refused.remove(id);
                self.events.forget(id);
                Ok(())
            }
            Change::Delete(id) if id.kind == Kind::ScaledObject => {
                self.rewrite(&with_kind(id, Kind::HttpScaledObject), None).await
            }
            _ => Ok(()),
        }
    }

    /// The ScaledObject was changed or deleted: write it again, unless that was our own write.
    async fn rewrite(&mut self, id: &ObjectId, generation: Option<i64>) -> Result<()> {
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
            (false, true, true) if owned => self.orphan(id, &scaled).await,
            (true, _, _) | (false, true, true) => Ok(()),
            (false, _, true) if !owned => {
                let message = format!(
                    "ScaledObject {} exists and is not owned by this HTTPScaledObject, so it is not changed; delete it, or set \
                     the annotation {SKIP_CREATION}: \"true\"",
                    id.name
                );
                self.events
                    .warn(&ObjectRef::new(id.clone(), &http.metadata), CREATE_ERROR, message)
                    .await;
                Ok(())
            }
            (false, ..) => self.write(id, http).await,
        }
    }

    async fn write(&mut self, id: &ObjectId, http: &HttpScaledObject) -> Result<()> {
        let desired = match scaled_object(http, &self.context.scaler_address) {
            Ok(desired) => desired,
            Err(reason) => {
                self.events
                    .warn(&ObjectRef::new(id.clone(), &http.metadata), CREATE_ERROR, reason)
                    .await;
                return Ok(());
            }
        };
        let written = match apply(&self.context.client, id, &desired).await {
            Ok(written) => written,
            Err(error) => return self.report_refusal(id, http, error).await,
        };
        self.events.resolve(id, CREATE_ERROR);
        self.refused.remove(id);
        self.written.insert(id.clone(), written.metadata.generation);
        self.write_status(id, http).await
    }

    async fn report_refusal(&mut self, id: &ObjectId, http: &HttpScaledObject, error: Error) -> Result<()> {
        let Some(reason) = refusal(&error) else {
            return Err(error.into());
        };
        let message = format!("the API server refuses its ScaledObject: {reason}");
        self.events
            .warn(&ObjectRef::new(id.clone(), &http.metadata), CREATE_ERROR, message)
            .await;
        self.refused.insert(id.clone());
        Ok(())
    }

    async fn write_status(&self, id: &ObjectId, http: &HttpScaledObject) -> Result<()> {
        let (workload, service) = (target_workload(http), target_service(http));
        let status = http.status.as_ref();
        let known = status.map(|status| (status.target_workload.as_ref(), status.target_service.as_ref()));
        if known == Some((Some(&workload), Some(&service))) {
            return Ok(());
        }
        let objects: Api<HttpScaledObject> = Api::namespaced(self.context.client.clone(), &id.namespace);
        let mut status_patch = json!({"targetWorkload": workload, "targetService": service});
        let conditions = status.map_or(&[][..], |status| &status.conditions);
        if conditions.iter().any(|condition| !condition.is_complete()) {
            // The conditions controller writes the condition again.
            let complete = conditions.iter().filter(|condition| condition.is_complete());
            status_patch["conditions"] = complete.map(|condition| json!(condition)).collect();
        }
        let patch = Patch::Merge(json!({"status": status_patch}));
        ignore_conflict(objects.patch_status(&id.name, &PatchParams::default(), &patch).await)
    }

    async fn remove(&mut self, id: &ObjectId, scaled: &Api<ScaledObject>) -> Result<()> {
        tracing::info!(object = %id, "removing its ScaledObject, as its annotation says");
        self.written.remove(id);
        ignore_conflict(scaled.delete(&id.name, &DeleteParams::default()).await)
    }

    async fn orphan(&mut self, id: &ObjectId, scaled: &Api<ScaledObject>) -> Result<()> {
        tracing::info!(object = %id, "ending the ownership of its ScaledObject, as its annotation says");
        self.written.remove(id);
        let patch = Patch::Merge(json!({"metadata": {"ownerReferences": null}}));
        ignore_conflict(scaled.patch(&id.name, &PatchParams::default(), &patch).await)
    }

    /// With the Go operator's finalizer the object would never be deleted.
    async fn release(&self, id: &ObjectId, http: &HttpScaledObject) -> Result<()> {
        let finalizers = http.finalizers();
        if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
            return Ok(());
        }
        let others: Vec<&String> = finalizers.iter().filter(|finalizer| *finalizer != FINALIZER).collect();
        let objects: Api<HttpScaledObject> = Api::namespaced(self.context.client.clone(), &id.namespace);
        let patch =
            Patch::Merge(json!({"metadata": {"finalizers": others, "resourceVersion": http.resource_version()}}));
        ignore_conflict(objects.patch(&id.name, &PatchParams::default(), &patch).await)
    }
}

async fn apply(client: &Client, id: &ObjectId, desired: &Value) -> Result<DynamicObject, Error> {
    let resource = ApiResource::erase::<ScaledObject>(&());
    let objects: Api<DynamicObject> = Api::namespaced_with(client.clone(), &id.namespace, &resource);
    let parameters = PatchParams::apply(MANAGER).force();
    objects.patch(&id.name, &parameters, &Patch::Apply(desired)).await
}

/// Whether nothing has changed that the ScaledObject depends on.
fn is_unchanged(known: &HttpScaledObject, new: &HttpScaledObject) -> bool {
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

fn with_kind(id: &ObjectId, kind: Kind) -> ObjectId {
    ObjectId { kind, ..id.clone() }
}

fn is_set(http: &HttpScaledObject, annotation: &str) -> bool {
    http.annotations().get(annotation).is_some_and(|value| value == "true")
}

fn belongs(scaled: &ObjectMeta, http: &ObjectMeta) -> bool {
    let owners = scaled.owner_references.iter().flatten();
    http.uid.is_some() && owners.into_iter().any(|owner| Some(&owner.uid) == http.uid.as_ref())
}

/// An object that was deleted or changed meanwhile arrives as another update.
fn ignore_conflict<T>(result: Result<T, Error>) -> Result<()> {
    match result {
        Ok(_) => Ok(()),
        Err(Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
