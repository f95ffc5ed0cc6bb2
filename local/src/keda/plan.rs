//! What KEDA reads from a ScaledObject after admission.

use std::collections::BTreeMap;
use std::time::Duration;

use keda_http_core::trigger::KEDIFY_HTTP;
use keda_http_kubernetes::conversion::{self, EXTERNAL_PUSH};
use keda_http_kubernetes::fields::FieldError;
use keda_http_kubernetes::resources::{ScaleTrigger, ScaledObject};

use crate::Key;

#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub key: Key,
    /// The Deployment it scales.
    pub workload: Key,
    /// `minReplicaCount`, default 0.
    pub min: u32,
    /// `maxReplicaCount`, default 100.
    pub max: u32,
    /// `idleReplicaCount`
    pub idle: Option<u32>,
    /// `pollingInterval`, default 30 s.
    pub polling_interval: Duration,
    /// `cooldownPeriod`, default 300 s: from the last activity to zero.
    pub cooldown: Duration,
    /// `initialCooldownPeriod`, default 0: the same for an object that was never active.
    pub initial_cooldown: Duration,
    /// `fallback`: after more than this many failures in a row, this many replicas.
    pub fallback: Option<(u32, u32)>,
    /// The triggers of our scaler.
    pub triggers: Vec<Trigger>,
    /// Set while annotations pause the scaling.
    pub pause: Option<Pause>,
    /// What KEDA would do and local does not.
    pub notes: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause {
    /// `autoscaling.keda.sh/paused-replicas`; `None` leaves the replicas as they are.
    pub replicas: Option<u32>,
}

const PAUSED: &str = "autoscaling.keda.sh/paused";
const PAUSED_REPLICAS: &str = "autoscaling.keda.sh/paused-replicas";
/// Annotations of KEDA that pause one direction only.
const PAUSED_PARTLY: [&str; 2] = [
    "autoscaling.keda.sh/paused-scale-in",
    "autoscaling.keda.sh/paused-scale-out",
];

/// A trigger of type `external-push`.
#[derive(Debug, Clone, PartialEq)]
pub struct Trigger {
    /// Its place in the ScaledObject, which KEDA puts before metric names (`s0-`).
    pub index: usize,
    /// All of its metadata, as it is handed to the scaler.
    pub metadata: BTreeMap<String, String>,
    /// How the HPA reads its metrics.
    pub metric: MetricType,
}

/// `metricType`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MetricType {
    /// The value is shared out among the replicas.
    #[default]
    AverageValue,
    /// The value is that of each replica.
    Value,
}

impl Plan {
    /// Reads a ScaledObject and does to its triggers what admission does in a cluster: `kedify-http` becomes
    /// `external-push`, with the scaler's address and, with several of them, the trigger's name in the metadata.
    ///
    /// # Errors
    /// Every field that is not valid.
    pub fn read(object: &ScaledObject, scaler: &str) -> Result<Self, Vec<FieldError>> {
        let spec = &object.spec;
        let key = Key::from_metadata(&object.metadata);
        let mut errors = Vec::new();
        let target = &spec.scale_target_ref;
        if target.kind.as_deref().is_some_and(|kind| kind != "Deployment") {
            errors.push(FieldError::new("spec.scaleTargetRef.kind", "allowed here: Deployment"));
        }
        let mut count = |field: &str, value: Option<i32>, default: u32| {
            let Some(value) = value else { return default };
            u32::try_from(value).unwrap_or_else(|_| {
                errors.push(FieldError::new(
                    format_args!("spec.{field}"),
                    format_args!("{value} must not be negative"),
                ));
                default
            })
        };
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        let mut plan = Self {
            workload: Key::new(&key.namespace, &target.name),
            key,
            min: count("minReplicaCount", spec.min_replica_count, 0),
            max: count("maxReplicaCount", spec.max_replica_count, 100),
            idle: spec
                .idle_replica_count
                .map(|idle| count("idleReplicaCount", Some(idle), 0)),
            polling_interval: seconds(count("pollingInterval", spec.polling_interval, 30).max(1)),
            cooldown: seconds(count("cooldownPeriod", spec.cooldown_period, 300)),
            initial_cooldown: seconds(count("initialCooldownPeriod", spec.initial_cooldown_period, 0)),
            fallback: spec.fallback.as_ref().map(|fallback| {
                let threshold = count("fallback.failureThreshold", Some(fallback.failure_threshold), 0);
                (threshold, count("fallback.replicas", Some(fallback.replicas), 0))
            }),
            triggers: triggers(&spec.triggers, scaler),
            pause: None,
            notes: Vec::new(),
        };
        plan.notes = plan.without_effect(object);
        match pause(object) {
            Ok(pause) => plan.pause = pause,
            Err(error) => errors.push(error),
        }
        errors.extend(plan.contradictions());
        if errors.is_empty() { Ok(plan) } else { Err(errors) }
    }

    fn without_effect(&self, object: &ScaledObject) -> Vec<String> {
        let is_ours = |index| self.triggers.iter().any(|trigger| trigger.index == index);
        let triggers = object.spec.triggers.iter().enumerate();
        let others = triggers.filter(|(index, _)| !is_ours(*index));
        let notes =
            others.map(|(index, trigger)| format!("spec.triggers[{index}] ({}) has no effect here", trigger.type_));
        let annotations = object.metadata.annotations.as_ref();
        let partly = PAUSED_PARTLY
            .into_iter()
            .filter(|name| annotations.is_some_and(|annotations| annotations.contains_key(*name)));
        notes
            .chain(partly.map(|name| format!("the annotation {name} has no effect here")))
            .collect()
    }

    fn contradictions(&self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if self.min > self.max {
            let reason = format!("{} is less than minReplicaCount, {}", self.max, self.min);
            errors.push(FieldError::new("spec.maxReplicaCount", reason));
        }
        if let Some(idle) = self.idle.filter(|idle| *idle >= self.min) {
            let reason = format!("{idle} must be less than minReplicaCount, {}", self.min);
            errors.push(FieldError::new("spec.idleReplicaCount", reason));
        }
        if self.triggers.is_empty() {
            let reason = format!(
                "none of them is {KEDIFY_HTTP}, or external-push with interceptorRoute, httpScaledObject or \
                 interceptorTargetPendingRequests; other types have no effect here"
            );
            errors.push(FieldError::new("spec.triggers", reason));
        }
        errors
    }
}

/// KEDA's rules: `paused-replicas` goes before `paused`, and a value of `paused` that is no boolean pauses, too.
fn pause(object: &ScaledObject) -> Result<Option<Pause>, FieldError> {
    let annotation = |name| object.metadata.annotations.as_ref()?.get(name);
    if let Some(value) = annotation(PAUSED_REPLICAS) {
        let replicas = value.parse().map_err(|_| {
            let field = format!("metadata.annotations[{PAUSED_REPLICAS}]");
            FieldError::new(field, format!("{value:?} is not a number of replicas"))
        })?;
        return Ok(Some(Pause {
            replicas: Some(replicas),
        }));
    }
    let is_false = |value: &String| ["0", "f", "F", "false", "False", "FALSE"].contains(&value.as_str());
    let is_paused = annotation(PAUSED).is_some_and(|value| !is_false(value));
    Ok(is_paused.then_some(Pause { replicas: None }))
}

/// The keys by which an `external-push` trigger is known to be meant for our scaler and not for somebody else's.
const OURS: [&str; 4] = [
    "interceptorRoute",
    "httpScaledObject",
    "interceptorTargetPendingRequests",
    "hosts",
];

fn triggers(declared: &[ScaleTrigger], scaler: &str) -> Vec<Trigger> {
    let several = declared.iter().filter(|trigger| trigger.type_ == KEDIFY_HTTP).count() > 1;
    let is_ours = |trigger: &ScaleTrigger| match trigger.type_.as_str() {
        KEDIFY_HTTP => true,
        EXTERNAL_PUSH => OURS.iter().any(|key| trigger.metadata.contains_key(*key)),
        _ => false,
    };
    let ours = declared.iter().enumerate().filter(|(_, trigger)| is_ours(trigger));
    ours.map(|(index, trigger)| Trigger {
        index,
        metadata: metadata(trigger, several, scaler),
        metric: match trigger.metric_type.as_deref() {
            Some("Value") => MetricType::Value,
            Some(_) | None => MetricType::AverageValue,
        },
    })
    .collect()
}

fn metadata(trigger: &ScaleTrigger, several: bool, scaler: &str) -> BTreeMap<String, String> {
    let several = several && trigger.type_ == KEDIFY_HTTP;
    let given = conversion::metadata(trigger, several, scaler).into_iter();
    let mut metadata = trigger.metadata.clone();
    metadata.extend(given.map(|(key, value)| (key.to_owned(), value)));
    metadata
}

#[cfg(test)]
mod tests {
    use keda_http_core::trigger::TRIGGER_NAME_KEY;

    use super::*;

    fn read(spec: &str) -> Result<Plan, Vec<String>> {
        let yaml =
            format!("{{apiVersion: keda.sh/v1alpha1, kind: ScaledObject, metadata: {{name: so}}, spec: {spec}}}");
        let object: ScaledObject = serde_saphyr::from_str(&yaml).unwrap();
        Plan::read(&object, "127.0.0.1:9").map_err(|errors| errors.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn defaults_are_those_of_keda() {
        let plan =
            read("{scaleTargetRef: {name: app}, triggers: [{type: kedify-http, metadata: {hosts: a}}]}").unwrap();
        assert_eq!((plan.min, plan.max, plan.idle, plan.fallback), (0, 100, None, None));
        let seconds = [plan.polling_interval, plan.cooldown, plan.initial_cooldown].map(|duration| duration.as_secs());
        assert_eq!(seconds, [30, 300, 0]);
        assert_eq!(plan.workload, Key::new("default", "app"));
        let metadata = &plan.triggers[0].metadata;
        assert_eq!(metadata["scalerAddress"], "127.0.0.1:9");
        assert_eq!(metadata["hosts"], "a");
        assert!(!metadata.contains_key(TRIGGER_NAME_KEY));
    }

    #[test]
    fn several_triggers_differ_by_their_names() {
        let plan = read(
            "{scaleTargetRef: {name: app}, triggers: [{type: cron}, {type: kedify-http, name: read, metadata: {hosts: a}}, \
             {type: kedify-http, name: write, metadata: {hosts: b}}]}",
        )
        .unwrap();
        let names: Vec<(usize, &str)> = plan
            .triggers
            .iter()
            .map(|trigger| (trigger.index, trigger.metadata[TRIGGER_NAME_KEY].as_str()))
            .collect();
        assert_eq!(names, [(1, "read"), (2, "write")]);
        assert_eq!(plan.notes, ["spec.triggers[0] (cron) has no effect here"]);
    }

    #[test]
    fn fault_c6_annotations_pause_as_in_keda() {
        let read = |annotations: &str| {
            let yaml = format!(
                "{{apiVersion: keda.sh/v1alpha1, kind: ScaledObject, metadata: {{name: so, annotations: {{{annotations}}}}}, \
                 spec: {{scaleTargetRef: {{name: a}}, triggers: [{{type: kedify-http, metadata: {{hosts: a}}}}]}}}}"
            );
            Plan::read(&serde_saphyr::from_str(&yaml).unwrap(), "127.0.0.1:9")
        };
        let at = |replicas| Some(Pause { replicas });
        let table = [
            ("", None),
            ("autoscaling.keda.sh/paused: 'false'", None),
            ("autoscaling.keda.sh/paused: 'true'", at(None)),
            ("autoscaling.keda.sh/paused: 'yes'", at(None)),
            ("autoscaling.keda.sh/paused-replicas: '3'", at(Some(3))),
            (
                "autoscaling.keda.sh/paused: 'false', autoscaling.keda.sh/paused-replicas: '0'",
                at(Some(0)),
            ),
        ];
        for (annotations, expected) in table {
            assert_eq!(read(annotations).unwrap().pause, expected, "{annotations}");
        }
        let errors = read("autoscaling.keda.sh/paused-replicas: many").unwrap_err();
        assert_eq!(
            errors[0].to_string(),
            "metadata.annotations[autoscaling.keda.sh/paused-replicas]: \"many\" is not a number of replicas"
        );
        let partly = read("autoscaling.keda.sh/paused-scale-in: 'true'").unwrap();
        assert_eq!(
            (partly.pause, partly.notes),
            (
                None,
                vec!["the annotation autoscaling.keda.sh/paused-scale-in has no effect here".to_owned()]
            )
        );
    }

    #[test]
    fn an_upstream_trigger_gets_our_address() {
        let plan = read(
            "{scaleTargetRef: {name: app}, triggers: [{type: external-push, metadata: {interceptorRoute: r, scalerAddress: \
             'scaler.keda:9090'}}]}",
        )
        .unwrap();
        assert_eq!(plan.triggers[0].metadata["scalerAddress"], "127.0.0.1:9");
    }

    #[test]
    fn a_field_that_is_not_valid_is_named() {
        let trigger = "triggers: [{type: kedify-http, metadata: {hosts: a}}]";
        let table = [
            (
                format!("{{scaleTargetRef: {{name: a, kind: StatefulSet}}, {trigger}}}"),
                "spec.scaleTargetRef.kind: ",
            ),
            (
                format!("{{scaleTargetRef: {{name: a}}, minReplicaCount: -1, {trigger}}}"),
                "spec.minReplicaCount: -1 ",
            ),
            (
                format!("{{scaleTargetRef: {{name: a}}, minReplicaCount: 3, maxReplicaCount: 2, {trigger}}}"),
                "spec.maxReplicaCount: 2 ",
            ),
            (
                format!("{{scaleTargetRef: {{name: a}}, idleReplicaCount: 0, {trigger}}}"),
                "spec.idleReplicaCount: 0 ",
            ),
            (
                "{scaleTargetRef: {name: a}, triggers: [{type: cpu}]}".to_owned(),
                "spec.triggers: none of them is kedify-http",
            ),
        ];
        for (spec, start) in table {
            let errors = read(&spec).unwrap_err();
            assert!(errors.len() == 1 && errors[0].starts_with(start), "{errors:?}");
        }
    }
}
