//! The part of a Deployment that is run here.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Container, EnvVar, PodSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use keda_http_kubernetes::fields::FieldError;

use crate::Key;

pub mod environment;
pub mod probe;

use probe::Probe;

#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    pub key: Key,
    /// `spec.replicas`: how many there are before anybody scales it.
    pub replicas: u32,
    pub template: Template,
    /// What Kubernetes would do and local does not.
    pub notes: Vec<String>,
}

/// The part of a pod template that is run here.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    /// Its labels, by which Services find it.
    pub labels: BTreeMap<String, String>,
    /// `command` and `args`, not expanded yet.
    pub command: Vec<String>,
    /// `env`, in order, not expanded yet.
    pub env: Vec<Variable>,
    pub directory: Option<String>,
    pub ports: Vec<ContainerPort>,
    pub readiness: Option<Probe>,
    /// `terminationGracePeriodSeconds`, default 30 s.
    pub grace: Duration,
}

impl Template {
    pub(crate) fn declares(&self, port: &str) -> bool {
        self.ports.iter().any(|declared| declared.name.as_deref() == Some(port))
    }

    /// What is wrong with a port name that is not declared.
    pub(crate) fn undeclared(&self, port: &str) -> String {
        let names = self.ports.iter().filter_map(|declared| declared.name.as_deref());
        let names: Vec<&str> = names.collect();
        let declared = if names.is_empty() {
            "none has a name".to_owned()
        } else {
            format!("declared: {}", names.join(", "))
        };
        format!("declares no port named {port:?}; {declared}")
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerPort {
    pub name: Option<String>,
    /// The number it has in a cluster.
    pub number: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    pub name: String,
    pub value: VariableValue,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VariableValue {
    /// `value`, with `$(NAME)` expanded.
    Text(String),
    /// `fieldRef: metadata.name`
    PodName,
    /// `fieldRef: metadata.namespace`
    Namespace,
    /// `fieldRef: status.podIP` or `status.hostIP`
    Address,
}

const PREFIX: &str = "spec.template.spec";

/// The annotation of a pod template with the command line that runs here, split at spaces, in place of the first
/// container's image, command and arguments.
const LOCAL_COMMAND: &str = "http.keda.sh/local-command";

impl Workload {
    /// # Errors
    /// Every field that is not valid here.
    pub fn read(deployment: &Deployment) -> Result<Self, Vec<FieldError>> {
        let mut errors = Vec::new();
        let spec = deployment.spec.clone().unwrap_or_default();
        let metadata = spec.template.metadata.unwrap_or_default();
        let labels = metadata.labels.unwrap_or_default();
        let annotations = metadata.annotations.unwrap_or_default();
        let selector = spec.selector.match_labels.unwrap_or_default();
        if !matches(&selector, &labels) {
            let reason = format!("{selector:?} does not match the labels of the pod template, {labels:?}");
            errors.push(FieldError::new("spec.selector.matchLabels", reason));
        }
        let replicas = spec.replicas.unwrap_or(1);
        let count = u32::try_from(replicas);
        if count.is_err() {
            errors.push(FieldError::new(
                "spec.replicas",
                format!("{replicas} must not be negative"),
            ));
        }
        let mut pod = spec.template.spec.unwrap_or_default();
        if let (Some(command), Some(container)) = (annotations.get(LOCAL_COMMAND), pod.containers.first_mut()) {
            container.command = Some(command.split_whitespace().map(ToOwned::to_owned).collect());
            container.args = None;
        }
        let template = template(&pod, labels, &mut errors);
        match (template, count) {
            (Some(template), Ok(replicas)) if errors.is_empty() => Ok(Self {
                key: Key::from_metadata(&deployment.metadata),
                replicas,
                template,
                notes: notes(&pod),
            }),
            _ => Err(errors),
        }
    }
}

/// Whether all of `selector` is among `labels`. An empty selector matches nothing, as in a Service.
pub fn matches(selector: &BTreeMap<String, String>, labels: &BTreeMap<String, String>) -> bool {
    !selector.is_empty() && selector.iter().all(|(name, value)| labels.get(name) == Some(value))
}

fn template(pod: &PodSpec, labels: BTreeMap<String, String>, errors: &mut Vec<FieldError>) -> Option<Template> {
    let Some((index, container)) = runnable(pod) else {
        let reason = "no container has a command; images are not run here: give one of them the command of a program of \
                      this machine, such as command: [python3, app.py], or the pod template the annotation \
                      http.keda.sh/local-command: python3 app.py";
        errors.push(FieldError::new(format_args!("{PREFIX}.containers[*].command"), reason));
        return None;
    };
    let at = format!("{PREFIX}.containers[{index}]");
    let readiness = match container.readiness_probe.as_ref().map(|probe| Probe::read(probe, &at)) {
        Some(Err(error)) => {
            errors.push(error);
            None
        }
        Some(Ok(probe)) => Some(probe),
        None => None,
    };
    Some(Template {
        labels,
        command: command(container),
        env: variables(container, &at, errors),
        directory: container.working_dir.clone().filter(|directory| !directory.is_empty()),
        ports: ports(container, &at, errors),
        readiness,
        grace: grace(pod),
    })
}

/// The first container with a command.
fn runnable(pod: &PodSpec) -> Option<(usize, &Container)> {
    let has_command = |container: &Container| container.command.as_ref().is_some_and(|command| !command.is_empty());
    pod.containers
        .iter()
        .enumerate()
        .find(|(_, container)| has_command(container))
}

fn command(container: &Container) -> Vec<String> {
    let parts = container.command.iter().chain(container.args.iter());
    parts.flatten().cloned().collect()
}

fn variables(container: &Container, at: &str, errors: &mut Vec<FieldError>) -> Vec<Variable> {
    let mut variables = Vec::new();
    for (index, variable) in container.env.iter().flatten().enumerate() {
        match value(variable) {
            Ok(value) => variables.extend(value.map(|value| Variable {
                name: variable.name.clone(),
                value,
            })),
            Err(reason) => errors.push(FieldError::new(format_args!("{at}.env[{index}].valueFrom"), reason)),
        }
    }
    variables
}

/// `None` leaves the variable to the environment of keda-http-local.
fn value(variable: &EnvVar) -> Result<Option<VariableValue>, String> {
    let Some(source) = &variable.value_from else {
        return Ok(Some(VariableValue::Text(variable.value.clone().unwrap_or_default())));
    };
    match source.field_ref.as_ref().map(|field| field.field_path.as_str()) {
        Some("metadata.name") => return Ok(Some(VariableValue::PodName)),
        Some("metadata.namespace") => return Ok(Some(VariableValue::Namespace)),
        Some("status.podIP" | "status.hostIP") => return Ok(Some(VariableValue::Address)),
        Some(_) | None => {}
    }
    if std::env::var_os(&variable.name).is_some() {
        return Ok(None);
    }
    Err(format!(
        "has no value here; allowed: fieldRef of metadata.name, metadata.namespace or status.podIP; or set {} in the \
         environment of keda-http-local",
        variable.name
    ))
}

fn ports(container: &Container, at: &str, errors: &mut Vec<FieldError>) -> Vec<ContainerPort> {
    let mut ports = Vec::new();
    for (index, port) in container.ports.iter().flatten().enumerate() {
        match u16::try_from(port.container_port) {
            Ok(number @ 1..) => ports.push(ContainerPort {
                name: port.name.clone(),
                number,
            }),
            Ok(0) | Err(_) => {
                let reason = format!("{} is not a valid port: 1 to 65535", port.container_port);
                errors.push(FieldError::new(
                    format_args!("{at}.ports[{index}].containerPort"),
                    reason,
                ));
            }
        }
    }
    ports
}

fn grace(pod: &PodSpec) -> Duration {
    let seconds = pod.termination_grace_period_seconds.unwrap_or(30);
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

fn is_given<T>(list: Option<&Vec<T>>) -> bool {
    list.is_some_and(|list| !list.is_empty())
}

fn notes(pod: &PodSpec) -> Vec<String> {
    let Some((index, container)) = runnable(pod) else {
        return Vec::new();
    };
    let others = pod.containers.iter().enumerate().filter(|(other, _)| *other != index);
    let mut notes: Vec<String> = others
        .map(|(_, other)| format!("container {} is not run: only one for each pod is", other.name))
        .collect();
    let given = [
        (container.liveness_probe.is_some(), "livenessProbe"),
        (container.startup_probe.is_some(), "startupProbe"),
        (container.lifecycle.is_some(), "lifecycle"),
        (is_given(container.env_from.as_ref()), "envFrom"),
        (is_given(container.volume_mounts.as_ref()), "volumeMounts"),
        (is_given(pod.init_containers.as_ref()), "initContainers"),
    ];
    let given = given.iter().filter(|(is_given, _)| *is_given);
    notes.extend(given.map(|(_, name)| format!("{name} has no effect here")));
    notes
}

/// A port that an object gives by number or by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum TargetPort {
    Number(u16),
    Name(String),
}

impl std::fmt::Display for TargetPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Name(name) => write!(f, "named {name:?}"),
        }
    }
}

impl TargetPort {
    /// `None` for a number that is not a valid port.
    pub fn read(port: &IntOrString) -> Option<Self> {
        match port {
            IntOrString::Int(number) => u16::try_from(*number)
                .ok()
                .filter(|number| *number > 0)
                .map(Self::Number),
            // Quoted numbers are numbers in Kubernetes, too.
            IntOrString::String(name) => Some(name.parse().map_or_else(|_| Self::Name(name.clone()), Self::Number)),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
