//! Objects to routes, and for each object that does not become one, why.
//!
//! An object that cannot be used harms no other. When it could be used before, its last good route stays in force until
//! it is repaired or deleted, so that a slip in an edit loses no traffic; [`RouteIndex::refused`] tells of it either way.
//! An InterceptorRoute or HTTPScaledObject with any slip is refused as a whole; the triggers of a ScaledObject stand each
//! by itself.

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
use crate::object::{Kind, Object, ObjectId};
use crate::source::Change;

/// A change of the set of routes.
#[derive(Debug, Clone)]
pub enum RouteChange {
    /// The route is new or has changed.
    Set(Arc<Route>),
    /// The route is gone.
    Remove(TargetKey),
}

/// The fold of InterceptorRoutes, HTTPScaledObjects and ScaledObjects into routes. One bad object harms no other.
///
/// Of two objects that make the same key, an InterceptorRoute goes before an HTTPScaledObject, and that before a
/// ScaledObject; when the first goes, the next one's route is back.
#[derive(Debug, Default)]
pub struct RouteIndex {
    candidates: BTreeMap<TargetKey, Candidates>,
    refused: BTreeMap<ObjectId, Vec<FieldError>>,
}

/// The routes that objects of different kinds make under one key, by [`Rank`].
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

/// Which of several objects with the same key is used: the first.
#[derive(Debug, Clone, Copy)]
enum Rank {
    InterceptorRoute,
    HttpScaledObject,
    ScaledObject,
}

impl Rank {
    fn of(kind: Kind) -> Option<Self> {
        match kind {
            Kind::InterceptorRoute => Some(Self::InterceptorRoute),
            Kind::HttpScaledObject => Some(Self::HttpScaledObject),
            Kind::ScaledObject => Some(Self::ScaledObject),
            Kind::Service | Kind::EndpointSlice | Kind::ConfigMap | Kind::Deployment => None,
        }
    }
}

/// Whether an object is of a kind that makes routes, and has what makes one.
pub(crate) fn makes_routes(object: &Object) -> bool {
    match object {
        Object::InterceptorRoute(_) | Object::HttpScaledObject(_) => true,
        Object::ScaledObject(scaled) => scaled.spec.triggers.iter().any(scaled_object::is_kedify_http),
        Object::Service(_) | Object::EndpointSlice(_) | Object::ConfigMap(_) | Object::Deployment(_) => false,
    }
}

impl RouteIndex {
    /// Takes a change in and says what it did to the routes. Kinds that make no routes do nothing.
    pub fn apply(&mut self, change: &Change) -> Vec<RouteChange> {
        let mut changes = Vec::new();
        match change {
            Change::Apply(object) => self.set(object, &mut changes),
            Change::Delete(id) => self.delete(id, &mut changes),
            Change::Reset(kind, objects) => self.reset(*kind, objects, &mut changes),
        }
        changes
    }

    /// The objects that are no valid routes, and why. An object with one bad trigger of several still makes the others' routes.
    pub fn refused(&self) -> &BTreeMap<ObjectId, Vec<FieldError>> {
        &self.refused
    }

    fn set(&mut self, object: &Object, changes: &mut Vec<RouteChange>) {
        match object {
            Object::InterceptorRoute(route) => {
                self.set_one(
                    object.id(),
                    Rank::InterceptorRoute,
                    interceptor_route::route(route),
                    changes,
                );
            }
            Object::HttpScaledObject(route) => {
                self.set_one(
                    object.id(),
                    Rank::HttpScaledObject,
                    http_scaled_object::route(route),
                    changes,
                );
            }
            Object::ScaledObject(scaled) => self.set_triggers(object.id(), scaled_object::routes(scaled), changes),
            Object::Service(_) | Object::EndpointSlice(_) | Object::ConfigMap(_) | Object::Deployment(_) => {}
        }
    }

    fn set_one(
        &mut self,
        id: ObjectId,
        rank: Rank,
        route: Result<(Route, Vec<String>), Vec<FieldError>>,
        changes: &mut Vec<RouteChange>,
    ) {
        match route {
            Ok((route, warnings)) => {
                if self.put(rank, route, changes) {
                    warn_of(&id, &warnings);
                }
                self.note(id, Vec::new());
            }
            Err(errors) => self.note(id, errors),
        }
    }

    fn set_triggers(
        &mut self,
        id: ObjectId,
        triggers: Vec<scaled_object::TriggerRoute>,
        changes: &mut Vec<RouteChange>,
    ) {
        for key in self.stale_keys(&id, &triggers) {
            self.put_at(key, Rank::ScaledObject, None, changes);
        }
        let mut errors = Vec::new();
        for trigger in triggers {
            match trigger.result {
                Ok(route) => {
                    if self.put(Rank::ScaledObject, route, changes) {
                        warn_of(&id, &trigger.warnings);
                    }
                }
                Err(error) => errors.push(error),
            }
        }
        self.note(id, errors);
    }

    /// The keys that the object's triggers no longer make; none while a trigger's key cannot be told.
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

    fn delete(&mut self, id: &ObjectId, changes: &mut Vec<RouteChange>) {
        self.refused.remove(id);
        let Some(rank) = Rank::of(id.kind) else { return };
        for key in self.keys_of(id) {
            self.put_at(key, rank, None, changes);
        }
    }

    fn reset(&mut self, kind: Kind, objects: &[Object], changes: &mut Vec<RouteChange>) {
        let Some(rank) = Rank::of(kind) else { return };
        let keep: HashSet<ObjectId> = objects.iter().map(Object::id).collect();
        self.refused.retain(|id, _| id.kind != kind || keep.contains(id));
        let known = self
            .candidates
            .iter()
            .filter(|(_, candidates)| candidates.0[rank as usize].is_some());
        let gone: Vec<TargetKey> = known
            .map(|(key, _)| key)
            .filter(|key| !keep.contains(&object_of(kind, key)))
            .cloned()
            .collect();
        for key in gone {
            self.put_at(key, rank, None, changes);
        }
        for object in objects.iter().filter(|object| object.kind() == kind) {
            self.set(object, changes);
        }
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

    /// `true` when the object's own route is new or different.
    fn put(&mut self, rank: Rank, route: Route, changes: &mut Vec<RouteChange>) -> bool {
        self.put_at(route.key.clone(), rank, Some(route), changes)
    }

    fn put_at(&mut self, key: TargetKey, rank: Rank, route: Option<Route>, changes: &mut Vec<RouteChange>) -> bool {
        if route.is_none() && !self.candidates.contains_key(&key) {
            return false;
        }
        let candidates = self.candidates.entry(key.clone()).or_default();
        let own = &mut candidates.0[rank as usize];
        if own.as_deref() == route.as_ref() {
            return false;
        }
        let before = candidates.first().cloned();
        candidates.0[rank as usize] = route.map(Arc::new);
        let after = candidates.first().cloned();
        if candidates.is_empty() {
            self.candidates.remove(&key);
        }
        if before != after {
            changes.push(after.map_or(RouteChange::Remove(key), RouteChange::Set));
        }
        true
    }

    /// What is wrong with the object now; told once for each change.
    fn note(&mut self, id: ObjectId, errors: Vec<FieldError>) {
        if errors.is_empty() {
            self.refused.remove(&id);
        } else if self.refused.get(&id) != Some(&errors) {
            for error in &errors {
                tracing::warn!(object = %id, field = error.field, reason = error.reason, "no valid route; a former one stays");
            }
            self.refused.insert(id, errors);
        }
    }
}

fn warn_of(id: &ObjectId, warnings: &[String]) {
    for warning in warnings {
        tracing::warn!(object = %id, "{warning}");
    }
}

/// The object of this kind that makes routes under this key.
fn object_of(kind: Kind, key: &TargetKey) -> ObjectId {
    let name = key.name().split(':').next().unwrap_or_default();
    ObjectId {
        kind,
        namespace: key.namespace().into(),
        name: name.into(),
    }
}

/// Seconds since 1970 of an object's creation; 0 for a manifest that names none.
fn created(metadata: &ObjectMeta) -> i64 {
    metadata
        .creation_timestamp
        .as_ref()
        .map_or(0, |time| time.0.as_second())
}

/// The key of an object that makes one route.
fn key_of(metadata: &ObjectMeta) -> TargetKey {
    TargetKey::object(
        crate::object::namespace_of(metadata),
        metadata.name.as_deref().unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests;
