//! What upstream's objects are scaled by: an index of InterceptorRoutes and HTTPScaledObjects.
//!
//! An object whose scaling is not valid keeps its last valid one; [`crate::routes`] reports why it is refused.

use std::collections::HashMap;

use keda_http_core::target::TargetKey;
use keda_http_core::trigger::{DEFAULT_TARGET, Scaling};

use crate::checked_fields::Fields;
use crate::fields::FieldError;
use crate::index::Index;
use crate::object::{Kind, Object, ObjectId, target_key};
use crate::resources::{HttpScaledObjectSpec, HttpScalingMetric, InterceptorRouteSpec};

/// The index.
#[derive(Debug, Default)]
pub struct ScalingIndex {
    known: HashMap<(Kind, TargetKey), Scaling>,
}

impl Index for ScalingIndex {
    /// An object whose scaling has changed.
    type Effect = TargetKey;

    fn apply(&mut self, object: &Object) -> Vec<TargetKey> {
        let Some(Ok(scaling)) = scaling_of(object) else {
            return Vec::new();
        };
        let key = target_key(object.metadata());
        let changed = self.known.insert((object.kind(), key.clone()), scaling) != Some(scaling);
        changed.then_some(key).into_iter().collect()
    }

    fn delete(&mut self, id: &ObjectId) -> Vec<TargetKey> {
        let key = TargetKey::object(&id.namespace, &id.name);
        let known = self.known.remove(&(id.kind, key.clone()));
        known.map(|_| key).into_iter().collect()
    }

    fn ids(&self, kind: Kind) -> Vec<ObjectId> {
        let known = self.known.keys().filter(|(of, _)| *of == kind);
        known
            .map(|(_, key)| ObjectId::new(kind, key.namespace(), key.name()))
            .collect()
    }
}

impl ScalingIndex {
    /// What an InterceptorRoute is scaled by; `None` when there is no such object.
    pub fn interceptor_route(&self, namespace: &str, name: &str) -> Option<Scaling> {
        self.get(Kind::InterceptorRoute, namespace, name)
    }

    /// What an HTTPScaledObject is scaled by; `None` when there is no such object.
    pub fn http_scaled_object(&self, namespace: &str, name: &str) -> Option<Scaling> {
        self.get(Kind::HttpScaledObject, namespace, name)
    }

    fn get(&self, kind: Kind, namespace: &str, name: &str) -> Option<Scaling> {
        self.known.get(&(kind, TargetKey::object(namespace, name))).copied()
    }
}

fn scaling_of(object: &Object) -> Option<Result<Scaling, Vec<FieldError>>> {
    let mut fields = Fields::default();
    let scaling = match object {
        Object::InterceptorRoute(object) => {
            fields.refuse_all(&object.spec.unknown_fields);
            interceptor_route(&object.spec, &mut fields)
        }
        Object::HttpScaledObject(object) => {
            fields.refuse_all(&object.spec.unknown_fields);
            http_scaled_object(&object.spec, &mut fields)
        }
        _ => return None,
    };
    Some(fields.finish(scaling))
}

/// Concurrency, rate, or both.
pub(crate) fn interceptor_route(spec: &InterceptorRouteSpec, fields: &mut Fields) -> Option<Scaling> {
    let metric = &spec.scaling_metric;
    if metric.concurrency.is_none() && metric.request_rate.is_none() {
        fields.refuse(
            format_args!("spec.scalingMetric"),
            "is empty; give concurrency, requestRate or both",
        );
        return None;
    }
    let concurrency = metric.concurrency.as_ref().and_then(|target| {
        fields.target_value(
            format_args!("spec.scalingMetric.concurrency.targetValue"),
            target.target_value.into(),
        )
    });
    let rate = metric.request_rate.as_ref().and_then(|target| {
        fields.rate(
            "spec.scalingMetric.requestRate",
            target.target_value.into(),
            &target.window,
            &target.granularity,
        )
    });
    Some(Scaling { concurrency, rate })
}

/// One metric only: the rate, else the concurrency, else `targetPendingRequests`, else 100 pending requests (upstream's order).
pub(crate) fn http_scaled_object(spec: &HttpScaledObjectSpec, fields: &mut Fields) -> Option<Scaling> {
    let none = HttpScalingMetric::default();
    let metric = spec.scaling_metric.as_ref().unwrap_or(&none);
    if let Some(target) = &metric.request_rate {
        let rate = fields.rate(
            "spec.scalingMetric.requestRate",
            target.target_value,
            &target.window,
            &target.granularity,
        )?;
        return Some(Scaling {
            concurrency: None,
            rate: Some(rate),
        });
    }
    let concurrency = match (&metric.concurrency, spec.target_pending_requests) {
        (Some(target), _) => fields.target_value(
            format_args!("spec.scalingMetric.concurrency.targetValue"),
            target.target_value,
        )?,
        (None, Some(target)) => fields.target_value(format_args!("spec.targetPendingRequests"), target.into())?,
        (None, None) => DEFAULT_TARGET,
    };
    Some(Scaling {
        concurrency: Some(concurrency),
        rate: None,
    })
}

#[cfg(test)]
mod tests;
