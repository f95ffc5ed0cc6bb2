//! Objects to routes, and for each object that does not become one, why.

use std::collections::BTreeMap;
use std::sync::Arc;

use keda_http_core::route::Route;
use keda_http_core::target::TargetKey;

use crate::object::ObjectId;
use crate::source::Change;

/// A change of the set of routes.
#[derive(Debug, Clone)]
pub enum RouteChange {
    /// The route is new or has changed.
    Set(Arc<Route>),
    /// The route is gone.
    Remove(TargetKey),
}

/// Why an object, or a trigger of it, is no route.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct RouteError {
    /// Where in the object, such as `spec.rules[0].hosts[1]` or `triggers[0].metadata`.
    pub field: String,
    /// What is wrong and what is allowed.
    pub reason: String,
}

/// The fold of InterceptorRoutes, HTTPScaledObjects and ScaledObjects into routes. One bad object harms no other.
#[derive(Debug, Default)]
pub struct RouteIndex {}

impl RouteIndex {
    /// Takes a change in and says what it did to the routes. Kinds that make no routes do nothing.
    pub fn apply(&mut self, change: &Change) -> Vec<RouteChange> {
        let _ = change;
        todo!()
    }

    /// The objects that are no valid routes, and why. An object with one bad trigger of several still makes the others' routes.
    pub fn refused(&self) -> &BTreeMap<ObjectId, Vec<RouteError>> {
        todo!()
    }
}
