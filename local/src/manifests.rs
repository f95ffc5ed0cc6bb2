//! The user's objects: gathered, checked before anything starts, and checked again at every change.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use keda_http_core::route::host::HostPattern;
use keda_http_core::route::path::PathMatch;
use keda_http_core::route::{Route, Rule};
use keda_http_core::target::TargetKey;
use keda_http_kubernetes::endpoints::EndpointIndex;
use keda_http_kubernetes::object::{Kind, Object, ObjectId};
use keda_http_kubernetes::routes::{RouteChange, RouteIndex};
use keda_http_kubernetes::source::Change;

use crate::Key;
use crate::keda::Plan;
use crate::workload::{FieldError, Workload, matches};

mod locate;

/// Everything that was read, and what of it is good.
#[derive(Debug)]
pub struct Manifests {
    directory: PathBuf,
    scaler: String,
    objects: BTreeMap<ObjectId, Object>,
    route_index: RouteIndex,
    routes: BTreeMap<TargetKey, Arc<Route>>,
    endpoints: EndpointIndex,
    workloads: BTreeMap<ObjectId, Workload>,
    plans: BTreeMap<ObjectId, Plan>,
}

/// Something that is wrong with an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// The file, where it is known.
    pub file: Option<PathBuf>,
    /// The object.
    pub object: String,
    /// Field and reason.
    pub error: FieldError,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}: ", file.display())?;
        }
        write!(f, "{}: {}", self.object, self.error)
    }
}

/// A request that will be routed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// Its Host header; `None` when any host is taken.
    pub host: Option<String>,
    /// Its path.
    pub path: String,
}

impl Manifests {
    /// Nothing read yet from this directory. `scaler` is the `host:port` that KEDA shall call.
    pub fn new(directory: &Path, scaler: &str) -> Self {
        Self {
            directory: directory.into(),
            scaler: scaler.to_owned(),
            objects: BTreeMap::new(),
            route_index: RouteIndex::default(),
            routes: BTreeMap::new(),
            endpoints: EndpointIndex::default(),
            workloads: BTreeMap::new(),
            plans: BTreeMap::new(),
        }
    }

    /// Takes changes in and says what is wrong now. An object that cannot be used keeps its last good state.
    pub fn apply(&mut self, changes: &[Change]) -> Vec<Complaint> {
        for change in changes {
            self.remember(change);
            for change in self.route_index.apply(change) {
                match change {
                    RouteChange::Set(route) => drop(self.routes.insert(route.key.clone(), route)),
                    RouteChange::Remove(key) => drop(self.routes.remove(&key)),
                }
            }
            self.endpoints.apply(change);
        }
        let mut complaints = self.read_workloads();
        complaints.extend(self.read_plans());
        complaints.extend(self.refused());
        complaints.extend(self.lost_services());
        complaints
    }

    /// The Deployments.
    pub fn workloads(&self) -> Vec<Workload> {
        self.workloads.values().cloned().collect()
    }

    /// The ScaledObjects.
    pub fn plans(&self) -> Vec<Plan> {
        self.plans.values().cloned().collect()
    }

    /// The Services.
    pub fn services(&self) -> Vec<Service> {
        let services = self.objects.values().filter_map(|object| match object {
            Object::Service(service) => Some((**service).clone()),
            Object::InterceptorRoute(_)
            | Object::HttpScaledObject(_)
            | Object::ScaledObject(_)
            | Object::EndpointSlice(_)
            | Object::ConfigMap(_)
            | Object::Deployment(_) => None,
        });
        services.collect()
    }

    /// A request for the first route; `None` when there is no route.
    pub fn example(&self) -> Option<Example> {
        let route = self.routes.values().next()?;
        Some(
            route
                .rules
                .first()
                .map_or_else(|| Example::of(&Rule::default()), Example::of),
        )
    }

    /// The Deployment behind the first route: the one that its Service selects.
    pub fn first_workload(&self) -> Option<&Workload> {
        let route = self.routes.values().next()?;
        let upstream = Key::new(&route.upstream.namespace, &route.upstream.service);
        let service = self
            .services()
            .into_iter()
            .find(|service| Key::of(&service.metadata) == upstream)?;
        let selector = service.spec?.selector?;
        let is_selected = |workload: &&Workload| {
            workload.key.namespace == upstream.namespace && matches(&selector, &workload.template.labels)
        };
        self.workloads.values().find(is_selected)
    }

    fn remember(&mut self, change: &Change) {
        match change {
            Change::Apply(object) => drop(self.objects.insert(object.id(), object.clone())),
            Change::Delete(id) => drop(self.objects.remove(id)),
            Change::Reset(kind, objects) => {
                self.objects.retain(|id, _| id.kind != *kind);
                self.objects
                    .extend(objects.iter().map(|object| (object.id(), object.clone())));
            }
        }
    }

    fn read_workloads(&mut self) -> Vec<Complaint> {
        let mut complaints = Vec::new();
        self.workloads.retain(|id, _| self.objects.contains_key(id));
        for (id, object) in &self.objects {
            let Object::Deployment(deployment) = object else {
                continue;
            };
            match Workload::read(deployment) {
                Ok(workload) => drop(self.workloads.insert(id.clone(), workload)),
                Err(errors) => complaints.extend(errors.into_iter().map(|error| self.complaint(id, error))),
            }
        }
        complaints
    }

    fn read_plans(&mut self) -> Vec<Complaint> {
        let mut complaints = Vec::new();
        self.plans.retain(|id, _| self.objects.contains_key(id));
        for (id, object) in &self.objects {
            let Object::ScaledObject(scaled) = object else { continue };
            match Plan::read(scaled, &self.scaler).and_then(|plan| self.complete(plan)) {
                Ok(plan) => drop(self.plans.insert(id.clone(), plan)),
                Err(errors) => complaints.extend(errors.into_iter().map(|error| self.complaint(id, error))),
            }
        }
        complaints
    }

    /// Whether what the ScaledObject refers to is there.
    fn complete(&self, plan: Plan) -> Result<Plan, Vec<FieldError>> {
        let mut errors = Vec::new();
        if !self.has(Kind::Deployment, &plan.workload) {
            let reason = format!(
                "there is no Deployment {}; {}",
                plan.workload,
                self.list(Kind::Deployment)
            );
            errors.push(FieldError::new("spec.scaleTargetRef.name", reason));
        }
        let references = [
            ("interceptorRoute", Kind::InterceptorRoute),
            ("httpScaledObject", Kind::HttpScaledObject),
        ];
        for trigger in &plan.triggers {
            for (key, kind) in references {
                let name = trigger
                    .metadata
                    .get(key)
                    .map(|name| Key::new(&plan.key.namespace, name));
                if let Some(name) = name.filter(|name| !self.has(kind, name)) {
                    let field = format!("spec.triggers[{}].metadata.{key}", trigger.index);
                    errors.push(FieldError::new(
                        field,
                        format!("there is no {kind} {name}; {}", self.list(kind)),
                    ));
                }
            }
        }
        if errors.is_empty() { Ok(plan) } else { Err(errors) }
    }

    fn has(&self, kind: Kind, key: &Key) -> bool {
        self.objects
            .keys()
            .any(|id| id.kind == kind && id.namespace == key.namespace && id.name == key.name)
    }

    fn list(&self, kind: Kind) -> String {
        let known = self
            .objects
            .keys()
            .filter(|id| id.kind == kind)
            .map(|id| format!("{}/{}", id.namespace, id.name));
        let known: Vec<String> = known.collect();
        if known.is_empty() {
            "there is none at all".to_owned()
        } else {
            format!("there is {}", known.join(", "))
        }
    }

    fn refused(&self) -> Vec<Complaint> {
        let refused = self.route_index.refused().iter();
        let errors = refused.flat_map(|(id, errors)| errors.iter().map(move |error| (id, error)));
        errors
            .map(|(id, error)| self.complaint(id, FieldError::new(&error.field, &error.reason)))
            .collect()
    }

    /// Routes to Services that are not there.
    fn lost_services(&self) -> Vec<Complaint> {
        let lost = self.routes.values().filter_map(|route| {
            let reason = self.endpoints.endpoints(&route.upstream).err()?;
            Some(Complaint {
                file: None,
                object: format!("route {}", route.key),
                error: FieldError::new("service and port", reason),
            })
        });
        let mut complaints: Vec<Complaint> = lost.collect();
        if self.routes.is_empty() && self.route_index.refused().is_empty() {
            let reason =
                "there is none: a ScaledObject with a kedify-http trigger, an InterceptorRoute, or an HTTPScaledObject";
            complaints.push(Complaint {
                file: Some(self.directory.clone()),
                object: "routes".to_owned(),
                error: FieldError::new("manifests", reason),
            });
        }
        complaints
    }

    fn complaint(&self, id: &ObjectId, error: FieldError) -> Complaint {
        Complaint {
            file: locate::file_of(&self.directory, id),
            object: id.to_string(),
            error,
        }
    }
}

impl Example {
    fn of(rule: &Rule) -> Self {
        let host = match rule.hosts.first() {
            Some(HostPattern::Exact(host)) => Some(host.to_string()),
            Some(HostPattern::Suffix(suffix)) => Some(format!("any.{suffix}")),
            Some(HostPattern::Any) | None => None,
        };
        let path = match rule.paths.first() {
            Some(PathMatch::Prefix(prefix)) => format!("/{prefix}"),
            Some(PathMatch::Regex(_)) | None => "/".to_owned(),
        };
        Self { host, path }
    }
}

#[cfg(test)]
mod tests;
