//! The condition `Ready` of InterceptorRoutes and HTTPScaledObjects; and the record of which namespace owns a host that
//! several claim.
//!
//! Only the objects that a change concerns are checked again, and only what differs is written.

mod verdict;

use std::collections::{BTreeSet, HashMap};

use anyhow::Result;
use k8s_openapi::api::core::v1::ConfigMap;
use keda_http_core::route::Route;
use keda_http_core::target::TargetKey;
use keda_http_kubernetes::endpoints::ServiceKey;
use keda_http_kubernetes::hosts;
use keda_http_kubernetes::index::Index;
use keda_http_kubernetes::object::{Kind, Object, ObjectId};
use keda_http_kubernetes::resources::{Condition, HttpScaledObject, InterceptorRoute};
use keda_http_kubernetes::source::Change;
use keda_http_kubernetes::view::{HostSettings, View, ViewChange};
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::{Client, Error};
use serde_json::json;

use super::context::{Context, Update, Updates};
use super::refusal::refusal;
use verdict::Verdict;

const MANAGER: &str = "keda-http-controllers";

/// What is known of an object whose condition is written.
#[derive(Debug)]
struct Subject {
    generation: Option<i64>,
    written: Option<Condition>,
    /// The Services it needs.
    services: Vec<ServiceKey>,
}

struct Conditions {
    context: Context,
    /// Without EndpointSlices, which conditions do not depend on.
    view: View,
    subjects: HashMap<ObjectId, Subject>,
    /// Which objects need a Service: mostly one, and there can be very many Services.
    users: HashMap<ServiceKey, Vec<ObjectId>>,
    recorded: Option<hosts::Owners>,
    /// Whether claims have changed since hosts were last decided about.
    unsettled: bool,
    /// The objects to check again.
    due: BTreeSet<ObjectId>,
    complete: bool,
}

/// Writes conditions until the updates end. `cluster_domain` is the DNS domain of Services.
///
/// # Errors
/// When a write to the API server fails.
pub async fn run(context: Context, cluster_domain: String, mut updates: Updates) -> Result<()> {
    let mut conditions = Conditions {
        context,
        view: View::new(HostSettings {
            owned: true,
            cluster_domain,
        }),
        subjects: HashMap::new(),
        users: HashMap::new(),
        recorded: None,
        unsettled: true,
        due: BTreeSet::new(),
        complete: false,
    };
    conditions.read_record().await?;
    while let Some(first) = updates.recv().await {
        conditions.receive(first);
        conditions.write_due(&mut updates).await?;
    }
    Ok(())
}

impl Conditions {
    /// Reads what the former leader recorded.
    async fn read_record(&mut self) -> Result<()> {
        let config_maps: Api<ConfigMap> = Api::namespaced(self.context.client.clone(), &self.context.namespace);
        let Some(config_map) = config_maps.get_opt(hosts::CONFIG_MAP).await? else {
            return Ok(());
        };
        let (record, _) = hosts::read(&config_map);
        self.view.set_record(record.clone());
        self.recorded = Some(record);
        Ok(())
    }

    /// Applies an update: the objects that it concerns are due.
    fn receive(&mut self, update: Update) {
        match update {
            Update::Changed(changes) => {
                let concerned = self.apply(&changes);
                self.due.extend(concerned);
            }
            Update::Complete => {
                self.complete = true;
                self.due.extend(self.subjects.keys().cloned());
            }
        }
    }

    /// Writes all that is due. Updates that arrive meanwhile are applied before the next write: ten thousand conditions
    /// take a minute, each write comes back as a change, and no outdated condition is to be written.
    async fn write_due(&mut self, updates: &mut Updates) -> Result<()> {
        while self.complete {
            while let Ok(more) = updates.try_recv() {
                self.receive(more);
            }
            self.settle().await?;
            let Some(id) = self.due.pop_first() else { break };
            self.write(&id).await?;
        }
        Ok(())
    }

    /// Applies changes and returns the objects that they concern.
    fn apply(&mut self, changes: &[Change]) -> BTreeSet<ObjectId> {
        let mut concerned = BTreeSet::new();
        for change in changes {
            if of_slices(change) {
                continue;
            }
            for change in self.view.update(change) {
                match change {
                    ViewChange::Route(_) => self.unsettled = true,
                    ViewChange::Endpoints(service) => {
                        concerned.extend(self.users.get(&service).cloned().unwrap_or_default());
                    }
                }
            }
            match change {
                Change::Apply(object) => concerned.extend(self.insert(object)),
                Change::Delete(id) => self.remove(id),
                Change::Reset(..) => {}
            }
        }
        concerned
    }

    fn insert(&mut self, object: &Object) -> Option<ObjectId> {
        let written = match object {
            Object::InterceptorRoute(route) => ready(route.status.as_ref().map(|status| &status.conditions)),
            Object::HttpScaledObject(http) => ready(http.status.as_ref().map(|status| &status.conditions)),
            _ => return None,
        };
        let id = object.id();
        self.remove(&id);
        let route = self.view.route(&key(&id));
        let services: Vec<ServiceKey> = route.map(|route| needed(route)).unwrap_or_default();
        for service in &services {
            let users = self.users.entry(service.clone()).or_default();
            users.reserve_exact(1);
            users.push(id.clone());
        }
        let subject = Subject {
            generation: object.metadata().generation,
            written,
            services,
        };
        self.subjects.insert(id.clone(), subject);
        Some(id)
    }

    fn remove(&mut self, id: &ObjectId) {
        let Some(subject) = self.subjects.remove(id) else {
            return;
        };
        for service in subject.services {
            if let Some(users) = self.users.get_mut(&service) {
                users.retain(|user| user != id);
                if users.is_empty() {
                    self.users.remove(&service);
                }
            }
        }
    }

    /// Decides about hosts, and writes the record.
    async fn settle(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.unsettled) {
            return Ok(());
        }
        for key in self.view.settle() {
            for kind in [Kind::InterceptorRoute, Kind::HttpScaledObject] {
                let id = ObjectId {
                    kind,
                    namespace: key.namespace().to_owned(),
                    name: key.name().to_owned(),
                };
                if self.subjects.contains_key(&id) {
                    self.due.insert(id);
                }
            }
        }
        self.write_record().await
    }

    async fn write_record(&mut self) -> Result<()> {
        let contested = self.view.contested();
        if self.recorded.as_ref() == Some(&contested) || (self.recorded.is_none() && contested.is_empty()) {
            return Ok(());
        }
        let config_maps: Api<ConfigMap> = Api::namespaced(self.context.client.clone(), &self.context.namespace);
        let record = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": hosts::CONFIG_MAP},
            "data": hosts::write(&contested),
        });
        let (parameters, patch) = (PatchParams::apply(MANAGER).force(), Patch::Apply(&record));
        config_maps.patch(hosts::CONFIG_MAP, &parameters, &patch).await?;
        self.view.set_record(contested.clone());
        self.recorded = Some(contested);
        Ok(())
    }

    async fn write(&mut self, id: &ObjectId) -> Result<()> {
        let Some(subject) = self.subjects.get(id) else {
            return Ok(());
        };
        let verdict = self.verdict(id);
        let condition = verdict.condition(subject.written.as_ref(), subject.generation);
        if subject.written.as_ref() == Some(&condition) {
            return Ok(());
        }
        if let Err(error) = write_condition(&self.context.client, id, &condition).await {
            let reason = refusal(&error).ok_or(error)?;
            tracing::warn!(object = %id, reason, "the API server refused the condition of an object");
        }
        if let Some(subject) = self.subjects.get_mut(id) {
            subject.written = Some(condition);
        }
        Ok(())
    }

    fn verdict(&self, id: &ObjectId) -> Verdict {
        if let Some(errors) = self.view.refused().get(id) {
            return Verdict::invalid(errors);
        }
        let key = key(id);
        let Some(route) = self.view.route(&key) else {
            return Verdict::shadowed();
        };
        if let Err(error) = self.view.endpoints(&route.upstream) {
            return Verdict::target(&error);
        }
        if let Some(Err(error)) = route.fallback.as_ref().map(|fallback| self.view.endpoints(fallback)) {
            return Verdict::fallback(&error);
        }
        Verdict::hosts(id.kind, self.view.conflicts().get(&key))
    }
}

fn of_slices(change: &Change) -> bool {
    match change {
        Change::Apply(object) => matches!(object, Object::EndpointSlice(_)),
        Change::Delete(id) => id.kind == Kind::EndpointSlice,
        Change::Reset(kind, _) => *kind == Kind::EndpointSlice,
    }
}

fn key(id: &ObjectId) -> TargetKey {
    TargetKey::object(&id.namespace, &id.name)
}

/// The Services that the route needs.
fn needed(route: &Route) -> Vec<ServiceKey> {
    let services = [Some(&*route.upstream), route.fallback.as_deref()];
    services.into_iter().flatten().map(ServiceKey::from).collect()
}

fn ready(conditions: Option<&Vec<Condition>>) -> Option<Condition> {
    let ready = conditions?.iter().find(|condition| condition.type_ == verdict::READY);
    ready.cloned()
}

async fn write_condition(client: &Client, id: &ObjectId, condition: &Condition) -> Result<(), Error> {
    let resource = match id.kind {
        Kind::InterceptorRoute => ApiResource::erase::<InterceptorRoute>(&()),
        _ => ApiResource::erase::<HttpScaledObject>(&()),
    };
    let objects: Api<DynamicObject> = Api::namespaced_with(client.clone(), &id.namespace, &resource);
    let patch = Patch::Merge(json!({"status": {"conditions": [condition]}}));
    match objects.patch_status(&id.name, &PatchParams::default(), &patch).await {
        Ok(_) => Ok(()),
        // Deleted meanwhile.
        Err(Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error),
    }
}
