//! The objects that one watch has reported, by name and version: a new list shows which ones were deleted, and unchanged
//! objects are not reported again.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};

use crate::object::{Kind, ObjectId};

#[derive(Debug)]
pub struct Known {
    kind: Kind,
    /// The namespace of all of them, where it is one.
    namespace: Option<Box<str>>,
    /// By name, or `namespace/name`: a hash of the version.
    objects: HashMap<Box<str>, u64>,
    versions: RandomState,
    /// While a list is read: the objects that it has not contained yet.
    missing: Option<HashSet<Box<str>>>,
}

impl Known {
    pub fn new(kind: Kind, namespace: Option<&str>) -> Self {
        Self {
            kind,
            namespace: namespace.map(Into::into),
            objects: HashMap::new(),
            versions: RandomState::new(),
            missing: None,
        }
    }

    /// A list starts; an earlier one that was not finished is dropped.
    pub fn start_list(&mut self) {
        self.missing = Some(self.objects.keys().cloned().collect());
    }

    /// The object exists; `false` when this version of it is known.
    pub fn insert(&mut self, id: &ObjectId, version: &str) -> bool {
        let name = self.name(id);
        if let Some(missing) = &mut self.missing {
            missing.remove(&name);
        }
        let version = self.versions.hash_one(version);
        self.objects.insert(name, version) != Some(version)
    }

    /// The object was deleted; `false` when it was not known.
    pub fn remove(&mut self, id: &ObjectId) -> bool {
        self.objects.remove(&self.name(id)).is_some()
    }

    pub fn contains(&self, id: &ObjectId) -> bool {
        let here = self
            .namespace
            .as_deref()
            .is_none_or(|namespace| namespace == id.namespace);
        here && id.kind == self.kind && self.objects.contains_key(&self.name(id))
    }

    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// Ends the list and returns the objects that were not in it: they were deleted.
    pub fn finish_list(&mut self) -> Vec<ObjectId> {
        let missing = self.missing.take().unwrap_or_default();
        for name in &missing {
            self.objects.remove(name);
        }
        missing.iter().map(|name| self.id(name)).collect()
    }

    pub fn ids(&self) -> Vec<ObjectId> {
        self.objects.keys().map(|name| self.id(name)).collect()
    }

    fn name(&self, id: &ObjectId) -> Box<str> {
        match self.namespace {
            Some(_) => id.name.as_str().into(),
            None => format!("{}/{}", id.namespace, id.name).into(),
        }
    }

    fn id(&self, name: &str) -> ObjectId {
        let (namespace, name) = match &self.namespace {
            Some(namespace) => (&**namespace, name),
            None => name.split_once('/').unwrap_or(("", name)),
        };
        ObjectId::new(self.kind, namespace, name)
    }
}
