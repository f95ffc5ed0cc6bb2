//! What the scaler must answer for upstream's objects: a fold of InterceptorRoutes and HTTPScaledObjects.
//!
//! An object whose scaling cannot be used keeps its last good one; [`crate::routes`] tells why it is refused.

use std::collections::{HashMap, HashSet};

use keda_http_core::target::TargetKey;
use keda_http_core::trigger::{DEFAULT_TARGET, Scaling};

use crate::fields::{FieldError, Fields};
use crate::object::{Kind, Object, ObjectId, namespace_of};
use crate::resources::{HttpScaledObjectSpec, HttpScalingMetric, InterceptorRouteSpec};
use crate::source::Change;

/// The fold.
#[derive(Debug, Default)]
pub struct ScalingIndex {
    interceptor_routes: HashMap<TargetKey, Scaling>,
    http_scaled_objects: HashMap<TargetKey, Scaling>,
}

impl ScalingIndex {
    /// Takes a change in; `true` when something the scaler answers has changed.
    pub fn apply(&mut self, change: &Change) -> bool {
        match change {
            Change::Apply(object) => self.set(object),
            Change::Delete(id) => self.delete(id),
            Change::Reset(kind, objects) => self.reset(*kind, objects),
        }
    }

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

    fn of_kind(&mut self, kind: Kind) -> Option<&mut HashMap<TargetKey, Scaling>> {
        match kind {
            Kind::InterceptorRoute => Some(&mut self.interceptor_routes),
            Kind::HttpScaledObject => Some(&mut self.http_scaled_objects),
            Kind::ScaledObject | Kind::Service | Kind::EndpointSlice | Kind::ConfigMap | Kind::Deployment => None,
        }
    }

    fn set(&mut self, object: &Object) -> bool {
        let Some(Ok(scaling)) = scaling_of(object) else {
            return false;
        };
        let Some(known) = self.of_kind(object.kind()) else {
            return false;
        };
        known.insert(key_of(object), scaling) != Some(scaling)
    }

    fn delete(&mut self, id: &ObjectId) -> bool {
        let key = TargetKey::object(&id.namespace, &id.name);
        self.of_kind(id.kind).is_some_and(|known| known.remove(&key).is_some())
    }

    fn reset(&mut self, kind: Kind, objects: &[Object]) -> bool {
        let Some(known) = self.of_kind(kind) else { return false };
        let keep: HashSet<TargetKey> = objects.iter().map(key_of).collect();
        let before = known.len();
        known.retain(|key, _| keep.contains(key));
        let gone = known.len() != before;
        objects.iter().fold(gone, |changed, object| self.set(object) || changed)
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
        Object::ScaledObject(_)
        | Object::Service(_)
        | Object::EndpointSlice(_)
        | Object::ConfigMap(_)
        | Object::Deployment(_) => return None,
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
