//! What a call of KEDA is about, worked out once from its metadata: which target, which metrics, by which names.

pub mod names;

use std::collections::HashMap;

use keda_http_core::target::TargetKey;
use keda_http_core::trigger::{KedifyHttp, Scaling, Trigger, TriggerError};
use keda_http_proto::externalscaler::ScaledObjectRef;
use tonic::Status;

use crate::demand::{Measure, Scope};
use crate::objects::Objects;

/// The subject of a call.
#[derive(Debug, Clone, PartialEq)]
pub struct Subject {
    /// What must be active.
    pub scope: Scope,
    /// What it is scaled by, in the order KEDA is told.
    pub metrics: Vec<Metric>,
}

/// One metric of a subject.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// Its name, without KEDA's `s<index>-` prefix. HPAs refer to it.
    pub name: String,
    /// What is measured.
    pub measure: Measure,
    /// The target per replica.
    pub target: f64,
    /// Whether target and value are whole numbers only, as upstream does for HTTPScaledObjects.
    pub whole: bool,
}

/// Why a call has no subject.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SubjectError {
    /// The metadata cannot be used.
    #[error("ScaledObject {namespace}/{name}: {error}")]
    Metadata {
        /// The ScaledObject's namespace.
        namespace: String,
        /// The ScaledObject's name.
        name: String,
        /// What is wrong with its metadata.
        error: TriggerError,
    },
    /// The metadata refers to an object that is not there.
    #[error("{kind} {namespace}/{name} was not found {place}")]
    NotFound {
        /// The object's kind.
        kind: &'static str,
        /// Its namespace: the ScaledObject's.
        namespace: String,
        /// Its name.
        name: String,
        /// Where it was looked for.
        place: String,
    },
    /// The metadata refers to an object, and not all objects are known yet.
    #[error("{kind} {namespace}/{name} is not known yet: the objects of the API server are being read")]
    NotKnownYet {
        /// The object's kind.
        kind: &'static str,
        /// Its namespace: the ScaledObject's.
        namespace: String,
        /// Its name.
        name: String,
    },
}

impl From<SubjectError> for Status {
    fn from(error: SubjectError) -> Self {
        match error {
            SubjectError::Metadata { .. } => Self::invalid_argument(error.to_string()),
            SubjectError::NotFound { .. } => Self::not_found(error.to_string()),
            SubjectError::NotKnownYet { .. } => Self::unavailable(error.to_string()),
        }
    }
}

impl Subject {
    /// Works out what a call is about.
    ///
    /// # Errors
    /// When the metadata cannot be used, or refers to an object that is not there.
    pub fn of(call: &ScaledObjectRef, objects: &Objects) -> Result<Self, SubjectError> {
        let ScaledObjectRef {
            namespace,
            name,
            scaler_metadata,
        } = call;
        match trigger(call, scaler_metadata)? {
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

    /// Upstream's former kind: one metric of whole numbers; the rate goes first.
    fn http_scaled_object(namespace: &str, object: &str, scaling: Scaling) -> Self {
        let key = TargetKey::object(namespace, object);
        let (measure, target) = rate(&key, scaling).or_else(|| concurrency(&key, scaling)).unzip();
        let name = names::escape(&format!("http-{namespace}/{object}"));
        let metric = measure.zip(target).map(|(measure, target)| Metric {
            name,
            measure,
            target,
            whole: true,
        });
        Self {
            scope: scope(key, scaling),
            metrics: metric.into_iter().collect(),
        }
    }

    /// The interceptor's own scaling: pending requests of all targets together.
    fn interceptor(namespace: &str, scaled_object: &str, target: f64) -> Self {
        let name = names::escape(&format!("http-{namespace}/{scaled_object}"));
        let metric = Metric {
            name,
            measure: Measure::TotalConcurrency,
            target,
            whole: false,
        };
        Self {
            scope: Scope::Everything,
            metrics: vec![metric],
        }
    }

    /// A `kedify-http` trigger: complete in itself; the name of one of several triggers is part of key and metric name.
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
            whole: false,
        };
        let concurrency = concurrency(&key, scaling).map(|measured| metric("concurrency", measured));
        let rate = rate(&key, scaling).map(|measured| metric("rate", measured));
        Self {
            metrics: concurrency.into_iter().chain(rate).collect(),
            scope: scope(key, scaling),
        }
    }
}

fn trigger(call: &ScaledObjectRef, metadata: &HashMap<String, String>) -> Result<Trigger, SubjectError> {
    let pairs = metadata.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    Trigger::from_metadata(pairs).map_err(|error| SubjectError::Metadata {
        namespace: call.namespace.clone(),
        name: call.name.clone(),
        error,
    })
}

fn not_found(kind: &'static str, namespace: &str, name: &str, objects: &Objects) -> SubjectError {
    let (namespace, name) = (namespace.to_owned(), name.to_owned());
    if !objects.is_complete() {
        return SubjectError::NotKnownYet { kind, namespace, name };
    }
    SubjectError::NotFound {
        kind,
        namespace,
        name,
        place: objects.place(),
    }
}

fn scope(key: TargetKey, scaling: Scaling) -> Scope {
    Scope::Target {
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

#[cfg(test)]
mod tests;
