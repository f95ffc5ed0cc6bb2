//! Objects to routes, and for each object that does not become one, why.
//!
//! An invalid object does not affect others. If it was valid before, its last valid route stays in force until it is fixed
//! or deleted, so that a mistake in an edit loses no traffic; [`RouteIndex::refused`] reports it either way. An
//! InterceptorRoute or HTTPScaledObject with any mistake is refused as a whole; the triggers of a ScaledObject are refused
//! one by one.

mod healthcheck;
mod http_scaled_object;
mod interceptor_route;
pub(crate) mod scaled_object;
mod session;
mod static_response;

use std::collections::{BTreeMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use keda_http_core::route::Route;
use keda_http_core::target::TargetKey;

use crate::fields::FieldError;
use crate::index::Index;
use crate::object::{Kind, Object, ObjectId};

/// The target of the log lines about objects that are not valid routes, for programs that report these in another way.
pub const REFUSED: &str = "keda_http_kubernetes::refused";

/// A change of the set of routes.
#[derive(Debug, Clone)]
pub enum RouteChange {
    /// The route is new or has changed.
    Set(Arc<Route>),
    /// The route was removed.
    Remove(TargetKey),
}

/// The index of InterceptorRoutes, HTTPScaledObjects and ScaledObjects.
///
/// Of two objects with the same key, an InterceptorRoute takes precedence over an HTTPScaledObject, and that over a
/// ScaledObject; when the first is deleted, the route of the next is in force again.
#[derive(Debug, Default)]
pub struct RouteIndex {
    candidates: BTreeMap<TargetKey, Candidates>,
    refused: BTreeMap<ObjectId, Vec<FieldError>>,
}

/// The routes that objects of different kinds make under one key, in the order of [`KINDS`].
#[derive(Debug, Default)]
struct Candidates([Option<Arc<Route>>; 3]);

impl Candidates {
    fn first(&self) -> Option<&Arc<Route>> {
        self.0.iter().flatten().next()
    }

    fn is_empty(&self) -> bool {
        self.first().is_none()
    }
}

/// The kinds that make routes. Of several objects with the same key the first kind is used.
const KINDS: [Kind; 3] = [Kind::InterceptorRoute, Kind::HttpScaledObject, Kind::ScaledObject];

fn rank(kind: Kind) -> Option<usize> {
    KINDS.iter().position(|known| *known == kind)
}

/// Whether an object is of a kind that makes routes, and has what makes one.
pub(crate) fn makes_routes(object: &Object) -> bool {
    match object {
        Object::InterceptorRoute(_) | Object::HttpScaledObject(_) => true,
        Object::ScaledObject(scaled) => scaled.spec.triggers.iter().any(scaled_object::is_kedify_http),
        _ => false,
    }
}

impl Index for RouteIndex {
    type Effect = RouteChange;

    fn apply(&mut self, object: &Object) -> Vec<RouteChange> {
        match object {
            Object::InterceptorRoute(route) => self.set_one(object.id(), interceptor_route::route(route)),
            Object::HttpScaledObject(route) => self.set_one(object.id(), http_scaled_object::route(route)),
            Object::ScaledObject(scaled) => self.set_triggers(object.id(), scaled_object::routes(scaled)),
            _ => Vec::new(),
        }
    }

    fn delete(&mut self, id: &ObjectId) -> Vec<RouteChange> {
        self.refused.remove(id);
        let keys = self.keys_of(id).into_iter();
        keys.filter_map(|key| self.put(key, id.kind, None).change).collect()
    }

    fn ids(&self, kind: Kind) -> Vec<ObjectId> {
        let Some(rank) = rank(kind) else { return Vec::new() };
        let made = self.candidates.iter().filter(|(_, known)| known.0[rank].is_some());
        let made = made.map(|(key, _)| object_of(kind, key));
        let refused = self.refused.keys().filter(|id| id.kind == kind).cloned();
        made.chain(refused).collect()
    }
}

struct Put {
    /// Whether the object's own route has changed.
    differs: bool,
    /// The change of the routes in force.
    change: Option<RouteChange>,
}

impl RouteIndex {
    /// The objects that are not valid routes, and why. An object with one invalid trigger still makes the other triggers' routes.
    pub fn refused(&self) -> &BTreeMap<ObjectId, Vec<FieldError>> {
        &self.refused
    }

    fn set_one(&mut self, id: ObjectId, route: Result<(Route, Vec<String>), Vec<FieldError>>) -> Vec<RouteChange> {
        match route {
            Ok((route, warnings)) => {
                let change = self.put_route(&id, route, &warnings);
                self.note(id, Vec::new());
                change.into_iter().collect()
            }
            Err(errors) => {
                self.note(id, errors);
                Vec::new()
            }
        }
    }

    fn set_triggers(&mut self, id: ObjectId, triggers: Vec<scaled_object::TriggerRoute>) -> Vec<RouteChange> {
        let mut changes = Vec::new();
        for key in self.stale_keys(&id, &triggers) {
            changes.extend(self.put(key, id.kind, None).change);
        }
        let mut errors = Vec::new();
        for trigger in triggers {
            match trigger.result {
                Ok(route) => changes.extend(self.put_route(&id, route, &trigger.warnings)),
                Err(error) => errors.push(error),
            }
        }
        self.note(id, errors);
        changes
    }

    /// The keys that the object's triggers no longer make; none while the key of a trigger is unknown.
    fn stale_keys(&self, id: &ObjectId, triggers: &[scaled_object::TriggerRoute]) -> Vec<TargetKey> {
        let Some(keep) = triggers
            .iter()
            .map(|trigger| trigger.key.as_ref())
            .collect::<Option<HashSet<_>>>()
        else {
            return Vec::new();
        };
        self.trigger_keys(id)
            .into_iter()
            .filter(|key| !keep.contains(key))
            .collect()
    }

    /// The keys under which the object has made routes.
    fn keys_of(&self, id: &ObjectId) -> Vec<TargetKey> {
        match id.kind {
            Kind::ScaledObject => self.trigger_keys(id),
            _ => vec![TargetKey::object(&id.namespace, &id.name)],
        }
    }

    fn trigger_keys(&self, id: &ObjectId) -> Vec<TargetKey> {
        let single = TargetKey::object(&id.namespace, &id.name);
        let prefix = format!("{single}:");
        let several = self
            .candidates
            .range::<str, _>((Bound::Included(prefix.as_str()), Bound::Unbounded));
        let several = several
            .map(|(key, _)| key)
            .take_while(|key| key.as_str().starts_with(&prefix))
            .cloned();
        std::iter::once(single.clone()).chain(several).collect()
    }

    fn put_route(&mut self, id: &ObjectId, route: Route, warnings: &[String]) -> Option<RouteChange> {
        let put = self.put(route.key.clone(), id.kind, Some(route));
        if put.differs {
            for warning in warnings {
                tracing::warn!(object = %id, "{warning}");
            }
        }
        put.change
    }

    fn put(&mut self, key: TargetKey, kind: Kind, route: Option<Route>) -> Put {
        let unchanged = Put {
            differs: false,
            change: None,
        };
        let Some(rank) = rank(kind).filter(|_| route.is_some() || self.candidates.contains_key(&key)) else {
            return unchanged;
        };
        let candidates = self.candidates.entry(key.clone()).or_default();
        let own = &mut candidates.0[rank];
        if own.as_deref() == route.as_ref() {
            return unchanged;
        }
        let before = candidates.first().cloned();
        candidates.0[rank] = route.map(Arc::new);
        let after = candidates.first().cloned();
        if candidates.is_empty() {
            self.candidates.remove(&key);
        }
        let change = (before != after).then(|| after.map_or(RouteChange::Remove(key), RouteChange::Set));
        Put { differs: true, change }
    }

    /// Records the current errors of the object; logs each change once.
    fn note(&mut self, id: ObjectId, errors: Vec<FieldError>) {
        if errors.is_empty() {
            self.refused.remove(&id);
        } else if self.refused.get(&id) != Some(&errors) {
            for error in &errors {
                tracing::warn!(target: REFUSED, object = %id, field = error.field, reason = error.reason, "the object is not a valid route; its last valid route stays in force");
            }
            self.refused.insert(id, errors);
        }
    }
}

/// The object of this kind that makes routes under this key.
fn object_of(kind: Kind, key: &TargetKey) -> ObjectId {
    let name = key.name().split(':').next().unwrap_or_default();
    ObjectId::new(kind, key.namespace(), name)
}

/// Seconds since 1970 of an object's creation; 0 for a manifest that names none.
fn created(metadata: &ObjectMeta) -> i64 {
    metadata
        .creation_timestamp
        .as_ref()
        .map_or(0, |time| time.0.as_second())
}

#[cfg(test)]
mod tests;
