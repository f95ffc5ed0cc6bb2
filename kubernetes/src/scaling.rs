//! What the scaler must answer for upstream's objects: a fold of InterceptorRoutes and HTTPScaledObjects.
//!
//! An object whose scaling is not valid keeps its last valid one; [`crate::routes`] reports why it is refused.

use std::collections::HashMap;

use keda_http_core::target::TargetKey;
use keda_http_core::trigger::{DEFAULT_TARGET, Scaling};

use crate::checked_fields::Fields;
use crate::fields::FieldError;
use crate::index::Index;
use crate::object::{Kind, Object, ObjectId, namespace_of};
use crate::resources::{HttpScaledObjectSpec, HttpScalingMetric, InterceptorRouteSpec};

/// The fold.
#[derive(Debug, Default)]
pub struct ScalingIndex {
    interceptor_routes: HashMap<TargetKey, Scaling>,
    http_scaled_objects: HashMap<TargetKey, Scaling>,
}

impl Index for ScalingIndex {
    /// An object whose scaling is another one now.
    type Effect = TargetKey;

    fn apply(&mut self, object: &Object) -> Vec<TargetKey> {
        let Some(Ok(scaling)) = scaling_of(object) else {
            return Vec::new();
        };
        let Some(known) = self.of_kind_mut(object.kind()) else {
            return Vec::new();
        };
        let key = key_of(object);
        let changed = known.insert(key.clone(), scaling) != Some(scaling);
        changed.then_some(key).into_iter().collect()
    }

    fn delete(&mut self, id: &ObjectId) -> Vec<TargetKey> {
        let key = TargetKey::object(&id.namespace, &id.name);
        let known = self.of_kind_mut(id.kind).and_then(|known| known.remove(&key));
        known.map(|_| key).into_iter().collect()
    }

    fn ids(&self, kind: Kind) -> Vec<ObjectId> {
        let known = match kind {
            Kind::InterceptorRoute => &self.interceptor_routes,
            Kind::HttpScaledObject => &self.http_scaled_objects,
            _ => return Vec::new(),
        };
        let id = |key: &TargetKey| ObjectId {
            kind,
            namespace: key.namespace().to_owned(),
            name: key.name().to_owned(),
        };
        known.keys().map(id).collect()
    }
}

impl ScalingIndex {
    /// What an InterceptorRoute is scaled by; `None` when there is no such object.
    pub fn interceptor_route(&self, namespace: &str, name: &str) -> Option<Scaling> {
        self.interceptor_routes
            .get(&TargetKey::object(namespace, name))
            .copied()
    }

    /// What an HTTPScaledObject is scaled by; `None` when there is no such object.
    pub fn http_scaled_object(&self, namespace: &str, name: &str) -> Option<Scaling> {
        self.http_scaled_objects
            .get(&TargetKey::object(namespace, name))
            .copied()
    }

    fn of_kind_mut(&mut self, kind: Kind) -> Option<&mut HashMap<TargetKey, Scaling>> {
        match kind {
            Kind::InterceptorRoute => Some(&mut self.interceptor_routes),
            Kind::HttpScaledObject => Some(&mut self.http_scaled_objects),
            _ => None,
        }
    }
}

fn key_of(object: &Object) -> TargetKey {
    let metadata = object.metadata();
    TargetKey::object(namespace_of(metadata), metadata.name.as_deref().unwrap_or_default())
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
