//! What is wrong with the user's objects, each by itself and all of them together.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Service;
use keda_http_core::route::Route;
use keda_http_kubernetes::endpoints::SERVICE_NAME;
use keda_http_kubernetes::fields::FieldError;
use keda_http_kubernetes::managed_scaled_object::{SKIP_CREATION, scaled_object};
use keda_http_kubernetes::object::{Kind, Object, ObjectId};
use keda_http_kubernetes::resources::{HttpScaledObject, ScaledObject};

use super::{Complaint, Consequence, Manifests};
use crate::Key;
use crate::endpoint_slices::{is_external, target};
use crate::keda::Plan;
use crate::workload::{TargetPort, Workload};

/// The keys of an `external-push` trigger that name the object with the route.
const REFERENCES: [(&str, Kind); 2] = [
    ("interceptorRoute", Kind::InterceptorRoute),
    ("httpScaledObject", Kind::HttpScaledObject),
];

fn reference(kind: Kind) -> Option<&'static str> {
    let mut references = REFERENCES.into_iter();
    references.find(|(_, known)| *known == kind).map(|(key, _)| key)
}

/// What Kubernetes, KEDA or the interceptor would refuse.
impl Manifests {
    pub(super) fn read_workloads(&mut self) -> Vec<Complaint> {
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

    /// One ScaledObject scales a Deployment: the one that did so before goes first.
    pub(super) fn read_plans(&mut self) -> Vec<Complaint> {
        let mut complaints = Vec::new();
        let before = std::mem::take(&mut self.plans);
        let mut plans = Vec::new();
        for (id, object) in &self.objects {
            let plan = match object {
                Object::ScaledObject(scaled) => self.plan(scaled),
                Object::HttpScaledObject(http) if self.gets_scaled_object(id, http) => self.managed_plan(http),
                _ => continue,
            };
            match plan {
                Ok(plan) => plans.push((id, plan)),
                Err(errors) => {
                    complaints.extend(errors.into_iter().map(|error| self.complaint(id, error)));
                    plans.extend(before.get(id).map(|plan| (id, plan.clone())));
                }
            }
        }
        plans.sort_by_key(|(id, plan)| before.get(id).is_none_or(|known| known.workload != plan.workload));
        let mut scaled_by: BTreeMap<Key, &ObjectId> = BTreeMap::new();
        for (id, plan) in plans {
            let other = scaled_by.get(&plan.workload);
            let refused = other.map(|other| already_scaled(&plan.workload, other));
            complaints.extend(refused.map(|error| self.complaint(id, error)));
            let plan = if other.is_none() { Some(&plan) } else { before.get(id) };
            if let Some(plan) = plan.filter(|plan| !scaled_by.contains_key(&plan.workload)) {
                scaled_by.insert(plan.workload.clone(), id);
                self.plans.insert(id.clone(), plan.clone());
            }
        }
        complaints
    }

    fn plan(&self, scaled: &ScaledObject) -> Result<Plan, Vec<FieldError>> {
        let plan = Plan::read(scaled, &self.scaler)?;
        let missing = self.missing_references(&plan);
        if missing.is_empty() { Ok(plan) } else { Err(missing) }
    }

    /// Whether the operator makes a ScaledObject for it.
    fn gets_scaled_object(&self, id: &ObjectId, http: &HttpScaledObject) -> bool {
        let annotations = http.metadata.annotations.as_ref();
        let skip = annotations.and_then(|annotations| annotations.get(SKIP_CREATION));
        let is_skipped = skip.is_some_and(|value| value == "true");
        let is_users = self.objects.iter().any(|(own, object)| match object {
            Object::ScaledObject(scaled) => {
                let mut triggers = scaled.spec.triggers.iter();
                let refers = triggers.any(|trigger| trigger.metadata.get("httpScaledObject") == Some(&id.name));
                own.namespace == id.namespace && (own.name == id.name || refers)
            }
            _ => false,
        });
        !is_skipped && !is_users
    }

    /// What KEDA makes of the ScaledObject that the operator makes.
    fn managed_plan(&self, http: &HttpScaledObject) -> Result<Plan, Vec<FieldError>> {
        let invalid = |reason: String| vec![FieldError::new("spec", reason)];
        let made = scaled_object(http, &self.scaler).map_err(|reason| match reason.split_once(": ") {
            Some((field, reason)) if field.starts_with("spec.") => vec![FieldError::new(field, reason)],
            Some(_) | None => invalid(reason),
        })?;
        match Object::parse(&made) {
            Ok(Some(Object::ScaledObject(scaled))) => self.plan(&scaled),
            Ok(_) => Err(invalid("makes no ScaledObject".to_owned())),
            Err(error) => Err(invalid(error.to_string())),
        }
    }

    fn missing_references(&self, plan: &Plan) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if !self.has(Kind::Deployment, &plan.workload) {
            let reason = format!(
                "there is no Deployment {}; {}",
                plan.workload,
                self.list(Kind::Deployment)
            );
            errors.push(FieldError::new("spec.scaleTargetRef.name", reason));
        }
        for trigger in &plan.triggers {
            for (key, kind) in REFERENCES {
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
        errors
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
            format!("there is no {kind} at all")
        } else {
            format!("there is {}", known.join(", "))
        }
    }

    pub(super) fn refused_routes(&self) -> Vec<Complaint> {
        let refused = self.view.refused().iter();
        let errors = refused.flat_map(|(id, errors)| errors.iter().map(move |error| (id, error)));
        errors.map(|(id, error)| self.complaint(id, error.clone())).collect()
    }

    pub(super) fn missing_services(&self) -> Vec<Complaint> {
        let missing = self.routes.values().filter_map(|route| {
            let reason = self.view.endpoints(&route.upstream).err()?;
            let complaint = self.route_complaint(route, FieldError::new("service and port", reason));
            let hosts = route.rules.iter().flat_map(|rule| &rule.hosts);
            Some(Complaint {
                consequence: Consequence::Held(hosts.map(ToString::to_string).collect()),
                ..complaint
            })
        });
        let mut complaints: Vec<Complaint> = missing.collect();
        if self.routes.is_empty() && self.view.refused().is_empty() {
            let reason = "there is none: add a ScaledObject with a kedify-http trigger, an InterceptorRoute, or an HTTPScaledObject";
            complaints.push(Complaint {
                file: Some(self.directory.clone()),
                object: "routes".to_owned(),
                error: FieldError::new("manifests", reason),
                consequence: Consequence::NotFound,
            });
        }
        complaints
    }

    fn route_complaint(&self, route: &Route, error: FieldError) -> Complaint {
        match self.route_object(route) {
            Some(id) => self.complaint(id, error),
            None => Complaint {
                file: None,
                object: format!("route {}", route.key),
                error,
                consequence: Consequence::Kept,
            },
        }
    }

    /// The InterceptorRoute or HTTPScaledObject that the route comes from.
    fn route_object(&self, route: &Route) -> Option<&ObjectId> {
        let (namespace, name) = (route.key.namespace(), route.key.name());
        let is_its = |id: &&ObjectId| reference(id.kind).is_some() && id.namespace == namespace && id.name == name;
        self.objects.keys().find(is_its)
    }
}

/// As KEDA's admission refuses it.
fn already_scaled(workload: &Key, other: &ObjectId) -> FieldError {
    let reason = format!("Deployment {workload} is scaled by {other} already; KEDA refuses a second one");
    FieldError::new("spec.scaleTargetRef.name", reason)
}

/// Warnings: what Kubernetes accepts, and why requests will then be held until they time out.
impl Manifests {
    pub(super) fn warnings(&self) -> Vec<Complaint> {
        let mut warnings = self.services_without_pods();
        warnings.extend(self.unknown_target_ports());
        warnings.extend(self.unknown_probe_ports());
        warnings.extend(self.routes_that_scale_nothing());
        warnings.extend(self.hosts_of_several_routes());
        warnings
    }

    fn hosts_of_several_routes(&self) -> Vec<Complaint> {
        let mut warnings = Vec::new();
        for (key, conflicts) in self.view.conflicts().iter() {
            let Some(route) = self.routes.get(key) else { continue };
            let lost = conflicts.lost.iter().filter(|lost| !lost.in_cluster);
            let lost = lost.map(|lost| {
                format!(
                    "{} belongs to namespace {}, which gets its requests",
                    lost.host, lost.owner
                )
            });
            let shadowed = conflicts.shadowed.iter();
            let shadowed = shadowed.map(|(host, winner)| {
                format!("all requests for {host} go to route {winner}, which has the same host, path and headers")
            });
            for reason in lost.chain(shadowed) {
                warnings.push(self.route_complaint(route, FieldError::new("hosts", reason)));
            }
        }
        warnings
    }

    fn services_without_pods(&self) -> Vec<Complaint> {
        let mut warnings = Vec::new();
        for (id, object) in &self.objects {
            let Object::Service(service) = object else { continue };
            let is_routed = self
                .routes
                .values()
                .any(|route| route.upstream.namespace == id.namespace && route.upstream.service == id.name);
            let needs_pods = is_routed && !is_external(service) && !self.has_slices(id);
            if needs_pods && self.selected_by(service).next().is_none() {
                let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
                let fault = match selector.filter(|selector| !selector.is_empty()) {
                    Some(selector) => format!("{} selects no pod", labels(selector)),
                    None => "it is missing, so no pod is behind the Service".to_owned(),
                };
                let reason = format!("{fault}; {}", self.pod_labels(&id.namespace));
                warnings.push(self.complaint(id, FieldError::new("spec.selector", reason)));
            }
        }
        warnings
    }

    /// Whether the user has written EndpointSlices for the Service.
    fn has_slices(&self, service: &ObjectId) -> bool {
        self.objects.iter().any(|(id, object)| {
            let labels = object.metadata().labels.as_ref();
            id.kind == Kind::EndpointSlice
                && id.namespace == service.namespace
                && labels.and_then(|labels| labels.get(SERVICE_NAME)) == Some(&service.name)
        })
    }

    fn pod_labels(&self, namespace: &str) -> String {
        let workloads = self
            .workloads
            .values()
            .filter(|workload| workload.key.namespace == namespace);
        let pods: Vec<String> = workloads
            .map(|workload| {
                format!(
                    "the pods of Deployment {} have {}",
                    workload.key,
                    labels(&workload.template.labels)
                )
            })
            .collect();
        if pods.is_empty() {
            format!("there is no Deployment in namespace {namespace}")
        } else {
            pods.join(", ")
        }
    }

    fn unknown_target_ports(&self) -> Vec<Complaint> {
        let mut warnings = Vec::new();
        for (id, object) in &self.objects {
            let Object::Service(service) = object else { continue };
            let selected: Vec<&Workload> = self.selected_by(service).collect();
            for (index, name) in named_targets(service) {
                if let [first, ..] = selected.as_slice()
                    && !selected.iter().any(|workload| workload.template.declares(&name))
                {
                    let field = format!("spec.ports[{index}].targetPort");
                    let reason = format!("Deployment {} {}", first.key, first.template.undeclared(&name));
                    warnings.push(self.complaint(id, FieldError::new(field, reason)));
                }
            }
        }
        warnings
    }

    fn unknown_probe_ports(&self) -> Vec<Complaint> {
        let mut warnings = Vec::new();
        for (id, workload) in &self.workloads {
            let probe = workload.template.readiness.as_ref();
            if let Some(probe) = probe
                && let Some(TargetPort::Name(name)) = probe.action.port()
                && !workload.template.declares(name)
            {
                let reason = format!("the container {}", workload.template.undeclared(name));
                warnings.push(self.complaint(id, FieldError::new(&probe.field, reason)));
            }
        }
        warnings
    }

    fn routes_that_scale_nothing(&self) -> Vec<Complaint> {
        let mut warnings = Vec::new();
        for route in self.routes.values() {
            let Some(id) = self.route_object(route) else { continue };
            let workload = self
                .service(&route.upstream)
                .and_then(|service| self.selected_by(service).next());
            if let Some(workload) = workload.filter(|workload| workload.replicas == 0)
                && let Some(key) = reference(id.kind)
                && !self.is_scaled_by(workload, key, &id.name)
            {
                let reason = format!(
                    "no ScaledObject starts Deployment {} for this route: requests are held until they time out. Add a \
                     ScaledObject with scaleTargetRef {{name: {}}} and a trigger {{type: external-push, metadata: {{{key}: \
                     {}}}}}",
                    workload.key, workload.key.name, id.name
                );
                warnings.push(self.complaint(id, FieldError::new("spec", reason)));
            }
        }
        warnings
    }

    fn is_scaled_by(&self, workload: &Workload, key: &str, route: &String) -> bool {
        self.plans.values().any(|plan| {
            let mut metadata = plan.triggers.iter().map(|trigger| &trigger.metadata);
            plan.workload == workload.key && metadata.any(|metadata| metadata.get(key) == Some(route))
        })
    }
}

/// Ports of the Service that are found by the name of a container's port, with their index.
fn named_targets(service: &Service) -> impl Iterator<Item = (usize, String)> {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    ports.enumerate().filter_map(|(index, port)| match target(port) {
        Some(TargetPort::Name(name)) => Some((index, name)),
        Some(TargetPort::Number(_)) | None => None,
    })
}

fn labels(labels: &BTreeMap<String, String>) -> String {
    let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    labels.join(",")
}
