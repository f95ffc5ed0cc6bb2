//! Which namespaces have routes, or Services that are still autowired.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use crate::object::{Kind, Object, ObjectId};
use crate::routes::makes_routes;
use crate::wired::is_ours;

/// The objects for which a namespace is watched, counted by namespace.
#[derive(Debug, Default)]
pub struct Demand {
    routes: HashMap<String, HashSet<(Kind, Box<str>)>>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Changed {
    First(String),
    Last(String),
}

impl Demand {
    pub fn add(&mut self, object: &Object) -> Option<Changed> {
        if !counts(object) {
            return self.remove(&object.id());
        }
        let id = object.id();
        let first = !self.routes.contains_key(&id.namespace);
        let routes = self.routes.entry(id.namespace.clone()).or_default();
        routes.insert((id.kind, id.name.into_boxed_str()));
        first.then_some(Changed::First(id.namespace))
    }

    pub fn remove(&mut self, id: &ObjectId) -> Option<Changed> {
        let Entry::Occupied(mut routes) = self.routes.entry(id.namespace.clone()) else {
            return None;
        };
        routes.get_mut().remove(&(id.kind, id.name.as_str().into()));
        if !routes.get().is_empty() {
            return None;
        }
        Some(Changed::Last(routes.remove_entry().0))
    }
}

fn counts(object: &Object) -> bool {
    match object {
        Object::EndpointSlice(slice) => is_ours(slice),
        _ => makes_routes(object),
    }
}
