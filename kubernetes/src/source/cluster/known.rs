//! What one watch has told of, by name: so that a new list can say what has vanished.

use std::collections::HashSet;

use crate::object::{Kind, ObjectId};

/// The objects of one kind.
#[derive(Debug)]
pub struct Known {
    kind: Kind,
    /// `namespace/name`.
    names: HashSet<Box<str>>,
    /// While a list is read: the ones it has not named yet.
    missing: Option<HashSet<Box<str>>>,
}

impl Known {
    /// Nothing is known yet.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            names: HashSet::new(),
            missing: None,
        }
    }

    /// A list begins.
    pub fn begin(&mut self) {
        // A list that was not finished has named some of what is known; the new one names them again.
        self.missing = Some(self.names.clone());
    }

    /// The object is there.
    pub fn is(&mut self, id: &ObjectId) {
        let name = name(id);
        if let Some(missing) = &mut self.missing {
            missing.remove(&name);
        }
        self.names.insert(name);
    }

    /// The object is gone; `false` when it was not known.
    pub fn gone(&mut self, id: &ObjectId) -> bool {
        self.names.remove(&name(id))
    }

    /// The list is complete: what it did not name is gone.
    pub fn complete(&mut self) -> Vec<ObjectId> {
        let missing = self.missing.take().unwrap_or_default();
        for name in &missing {
            self.names.remove(name);
        }
        missing.iter().map(|name| self.id(name)).collect()
    }

    /// All of them.
    pub fn all(&self) -> Vec<ObjectId> {
        self.names.iter().map(|name| self.id(name)).collect()
    }

    fn id(&self, name: &str) -> ObjectId {
        let (namespace, name) = name.split_once('/').unwrap_or(("", name));
        ObjectId {
            kind: self.kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }
}

fn name(id: &ObjectId) -> Box<str> {
    format!("{}/{}", id.namespace, id.name).into_boxed_str()
}
