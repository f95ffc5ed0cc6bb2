//! The subject of a call of KEDA, resolved once from its metadata: which target, which metrics, by which names.

mod names;

use keda_http_core::target::TargetKey;
use keda_http_core::trigger::{KedifyHttp, Scaling, Trigger, TriggerError};
use keda_http_proto::externalscaler::ScaledObjectRef;
use tonic::Status;

use crate::demand::{ActivityScope, Measure};
use crate::objects::ScalingObjects;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct CallSubject {
    /// What decides whether the workload must be active.
    pub(super) scope: ActivityScope,
    /// In the order in which KEDA receives them.
    pub(super) metrics: Vec<Metric>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Metric {
    /// Without KEDA's `s<index>-` prefix. HPAs refer to it.
    pub(super) name: String,
    pub(super) measure: Measure,
    /// The target value per replica.
    pub(super) target: f64,
    /// Whether target and value are sent as integers only, as upstream does for HTTPScaledObjects.
    pub(super) integers_only: bool,
}

/// Why the subject of a call cannot be resolved.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(super) enum SubjectError {
    /// The metadata is not valid.
    #[error("ScaledObject {namespace}/{name}: {error}")]
    Metadata {
        namespace: String,
        name: String,
        error: TriggerError,
    },
    /// The metadata refers to an object that does not exist.
    #[error("{object} was not found {place}")]
    NotFound { object: String, place: String },
    /// The metadata refers to an object, and not all objects are known yet.
    #[error("{0} is not known yet: the initial list of objects from the API server is not complete")]
    NotKnownYet(String),
}

impl From<SubjectError> for Status {
    fn from(error: SubjectError) -> Self {
        match error {
            SubjectError::Metadata { .. } => Self::invalid_argument(error.to_string()),
            SubjectError::NotFound { .. } => Self::not_found(error.to_string()),
            SubjectError::NotKnownYet(_) => Self::unavailable(error.to_string()),
        }
    }
}

impl CallSubject {
    pub(super) fn resolve(call: &ScaledObjectRef, objects: &ScalingObjects) -> Result<Self, SubjectError> {
        let ScaledObjectRef { namespace, name, .. } = call;
        match trigger(call)? {
            Trigger::InterceptorRoute(route) => {
                let scaling = objects.interceptor_route(namespace, &route);
                let scaling = scaling.ok_or_else(|| not_found("InterceptorRoute", namespace, &route, objects))?;
                Ok(Self::interceptor_route(namespace, &route, scaling))
            }
            Trigger::HttpScaledObject(object) => {
                let scaling = objects.http_scaled_object(namespace, &object);
                let scaling = scaling.ok_or_else(|| not_found("HTTPScaledObject", namespace, &object, objects))?;
                Ok(Self::http_scaled_object(namespace, &object, scaling))
            }
            Trigger::InterceptorPending(target) => Ok(Self::interceptor(namespace, name, target)),
            Trigger::KedifyHttp(trigger) => Ok(Self::kedify_http(namespace, name, &trigger)),
        }
    }

    /// Upstream's current kind: a metric for each of concurrency and rate that is configured.
    fn interceptor_route(namespace: &str, route: &str, scaling: Scaling) -> Self {
        let key = TargetKey::object(namespace, route);
        Self::with_both(key, &format!("http_{route}"), scaling)
    }

    /// Upstream's former kind: one metric with integer values; a rate takes precedence over concurrency.
    fn http_scaled_object(namespace: &str, object: &str, scaling: Scaling) -> Self {
        let key = TargetKey::object(namespace, object);
        let measured = rate(&key, scaling).or_else(|| concurrency(&key, scaling));
        let metric = measured.map(|(measure, target)| Metric {
            name: names::escape(&format!("http-{namespace}/{object}")),
            measure,
            target,
            integers_only: true,
        });
        Self {
            scope: scope(key, scaling),
            metrics: metric.into_iter().collect(),
        }
    }

    /// The scaling of the interceptors themselves: the pending requests of all targets together.
    fn interceptor(namespace: &str, scaled_object: &str, target: f64) -> Self {
        Self {
            scope: ActivityScope::Everything,
            metrics: vec![Metric {
                name: names::escape(&format!("http-{namespace}/{scaled_object}")),
                measure: Measure::TotalConcurrency,
                target,
                integers_only: false,
            }],
        }
    }

    /// A `kedify-http` trigger refers to no object. With several triggers, the trigger's name is part of the target key
    /// and of the metric names.
    fn kedify_http(namespace: &str, scaled_object: &str, trigger: &KedifyHttp) -> Self {
        let object = names::escape(scaled_object);
        let (key, base) = match &trigger.name {
            None => (TargetKey::object(namespace, scaled_object), format!("http_{object}")),
            Some(name) => (
                TargetKey::trigger(namespace, scaled_object, name),
                format!("http_{object}_{}", names::escape(name)),
            ),
        };
        Self::with_both(key, &base, trigger.scaling)
    }

    fn with_both(key: TargetKey, base: &str, scaling: Scaling) -> Self {
        let metric = |suffix, (measure, target)| Metric {
            name: format!("{base}_{suffix}"),
            measure,
            target,
            integers_only: false,
        };
        let concurrency = concurrency(&key, scaling).map(|measured| metric("concurrency", measured));
        let rate = rate(&key, scaling).map(|measured| metric("rate", measured));
        Self {
            metrics: concurrency.into_iter().chain(rate).collect(),
            scope: scope(key, scaling),
        }
    }
}

fn trigger(call: &ScaledObjectRef) -> Result<Trigger, SubjectError> {
    let pairs = call.scaler_metadata.iter();
    let pairs = pairs.map(|(key, value)| (key.as_str(), value.as_str()));
    Trigger::from_metadata(pairs).map_err(|error| SubjectError::Metadata {
        namespace: call.namespace.clone(),
        name: call.name.clone(),
        error,
    })
}

fn not_found(kind: &str, namespace: &str, name: &str, objects: &ScalingObjects) -> SubjectError {
    let object = format!("{kind} {namespace}/{name}");
    if !objects.is_complete() {
        return SubjectError::NotKnownYet(object);
    }
    let place = objects.place();
    SubjectError::NotFound { object, place }
}

fn scope(key: TargetKey, scaling: Scaling) -> ActivityScope {
    ActivityScope::Target {
        key,
        window: scaling.activity_window(),
    }
}

fn concurrency(key: &TargetKey, scaling: Scaling) -> Option<(Measure, f64)> {
    scaling
        .concurrency
        .map(|target| (Measure::Concurrency(key.clone()), target))
}

fn rate(key: &TargetKey, scaling: Scaling) -> Option<(Measure, f64)> {
    scaling.rate.map(|rate| {
        let measure = Measure::Rate {
            key: key.clone(),
            window: rate.window,
            granularity: rate.granularity,
        };
        (measure, rate.value)
    })
}

/// The smallest integer that is not less, for fields without a fraction.
#[expect(
    clippy::cast_possible_truncation,
    reason = "`as` saturates, which is right for a value above the range of i64"
)]
pub(super) fn round_up(value: f64) -> i64 {
    value.ceil() as i64
}

#[cfg(test)]
mod tests;
