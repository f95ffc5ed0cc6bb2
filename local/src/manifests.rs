//! The user's objects: checked before anything starts, and again at every change.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use keda_http_core::route::{Route, Rule, ServiceRef};
use keda_http_core::target::TargetKey;
use keda_http_kubernetes::fields::FieldError;
use keda_http_kubernetes::index::Index;
use keda_http_kubernetes::object::{Kind, Object, ObjectId};
use keda_http_kubernetes::routes::RouteChange;
use keda_http_kubernetes::source::Change;
use keda_http_kubernetes::view::{HostSettings, View, ViewChange};

use crate::endpoint_slices::selects;
use crate::keda::Plan;
use crate::workload::Workload;

mod checks;
mod example;
mod locate;

pub use example::Example;

/// All objects, and the last good state of those that are run.
#[derive(Debug)]
pub struct Manifests {
    directory: PathBuf,
    scaler: String,
    objects: BTreeMap<ObjectId, Object>,
    view: View,
    routes: BTreeMap<TargetKey, Arc<Route>>,
    workloads: BTreeMap<ObjectId, Workload>,
    plans: BTreeMap<ObjectId, Plan>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Complaint {
    /// The file, where it is known.
    pub file: Option<PathBuf>,
    pub object: String,
    /// Field and reason.
    pub error: FieldError,
    pub consequence: Consequence,
}

/// What happens when the fault comes with a change, while everything runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Consequence {
    /// The object's last good state stays in force.
    Kept,
    /// The object is in force; requests for these hosts wait for what is missing.
    Held(Vec<String>),
    /// No request has a route.
    NotFound,
}

impl fmt::Display for Consequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kept => f.write_str(" (the last good state stays in force)"),
            Self::Held(hosts) if hosts.is_empty() => f.write_str("; requests for any host are held until it exists"),
            Self::Held(hosts) => write!(f, "; requests for {} are held until it exists", hosts.join(", ")),
            Self::NotFound => f.write_str("; every request gets 404 until there is one"),
        }
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}: ", file.display())?;
        }
        write!(f, "{}: {}", self.object, self.error)
    }
}

/// What is wrong with the manifests.
#[derive(Debug, Default)]
pub struct Findings {
    /// Objects that are not valid here: nothing is started with them.
    pub errors: Vec<Complaint>,
    /// Objects that are valid but keep requests from their app.
    pub warnings: Vec<Complaint>,
}

impl Manifests {
    /// Without objects yet, for this directory. `scaler` is the `host:port` that KEDA calls.
    pub fn new(directory: &Path, scaler: &str) -> Self {
        Self {
            directory: directory.into(),
            scaler: scaler.to_owned(),
            objects: BTreeMap::new(),
            view: View::new(HostSettings {
                owned: true,
                cluster_domain: "cluster.local".to_owned(),
            }),
            routes: BTreeMap::new(),
            workloads: BTreeMap::new(),
            plans: BTreeMap::new(),
        }
    }

    /// Applies changes and reports what is wrong after them. An object that is not valid keeps its last good state.
    pub fn apply(&mut self, changes: &[Change]) -> Findings {
        for change in changes {
            self.store(change);
            for change in self.view.update(change) {
                match change {
                    ViewChange::Route(RouteChange::Set(route)) => drop(self.routes.insert(route.key.clone(), route)),
                    ViewChange::Route(RouteChange::Remove(key)) => drop(self.routes.remove(&key)),
                    ViewChange::Endpoints(_) => {}
                }
            }
        }
        self.view.settle();
        let mut errors = self.read_workloads();
        errors.extend(self.read_plans());
        errors.extend(self.refused_routes());
        errors.extend(self.missing_services());
        Findings {
            errors,
            warnings: self.warnings(),
        }
    }

    pub fn workloads(&self) -> Vec<Workload> {
        self.workloads.values().cloned().collect()
    }

    pub fn plans(&self) -> Vec<Plan> {
        self.plans.values().cloned().collect()
    }

    pub fn services(&self) -> Vec<Service> {
        let services = self.objects.values().filter_map(|object| match object {
            Object::Service(service) => Some((**service).clone()),
            _ => None,
        });
        services.collect()
    }

    /// A request for each host of each route, those of the first route first.
    pub fn examples(&self) -> Vec<Example> {
        let any = [Rule::default()];
        let rules = self.routes.values().flat_map(|route| match &route.rules[..] {
            [] => &any[..],
            rules => rules,
        });
        let mut examples: Vec<Example> = Vec::new();
        for example in rules.flat_map(Example::matching) {
            if examples.iter().all(|known| known.host != example.host) {
                examples.push(example);
            }
        }
        examples
    }

    /// The Deployment behind the first route: the one that its Service selects.
    pub fn first_workload(&self) -> Option<&Workload> {
        let route = self.routes.values().next()?;
        self.selected_by(self.service(&route.upstream)?).next()
    }

    /// How the Deployment behind the first route is scaled.
    pub fn first_plan(&self) -> Option<Plan> {
        let workload = &self.first_workload()?.key;
        self.plans.values().find(|plan| plan.workload == *workload).cloned()
    }

    fn service(&self, reference: &ServiceRef) -> Option<&Service> {
        let id = ObjectId {
            kind: Kind::Service,
            namespace: reference.namespace.clone(),
            name: reference.service.clone(),
        };
        match self.objects.get(&id) {
            Some(Object::Service(service)) => Some(service),
            _ => None,
        }
    }

    /// The Deployments whose pods the Service selects.
    fn selected_by<'a>(&'a self, service: &'a Service) -> impl Iterator<Item = &'a Workload> {
        let workloads = self.workloads.values();
        workloads.filter(|workload| selects(service, &workload.key.namespace, &workload.template.labels))
    }

    fn store(&mut self, change: &Change) {
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

    fn complaint(&self, id: &ObjectId, error: FieldError) -> Complaint {
        Complaint {
            file: locate::file_of(&self.directory, id),
            object: id.to_string(),
            error,
            consequence: Consequence::Kept,
        }
    }
}

#[cfg(test)]
mod tests;
