//! The interface of all indexes of objects.

use std::collections::HashSet;

use crate::object::{Kind, Object, ObjectId};

/// A change of the set of objects.
#[derive(Debug, Clone)]
pub enum Change {
    /// The object is new or has changed.
    Apply(Object),
    /// The object was deleted.
    Delete(ObjectId),
    /// The objects of this kind are exactly these; the first one of a kind is its initial list.
    Reset(Kind, Vec<Object>),
}

/// State that is computed from objects. It depends on the objects that exist, not on the order in which they arrived.
///
/// Objects of other kinds than the index is about have no effect.
pub trait Index {
    /// A change that readers of the index must know.
    type Effect;

    /// The object is new or has changed.
    fn apply(&mut self, object: &Object) -> Vec<Self::Effect>;

    /// The object was deleted.
    fn delete(&mut self, id: &ObjectId) -> Vec<Self::Effect>;

    /// The known objects of a kind.
    fn ids(&self, kind: Kind) -> Vec<ObjectId>;

    /// The objects of a kind are exactly these.
    fn reset(&mut self, kind: Kind, objects: &[Object]) -> Vec<Self::Effect> {
        let keep: HashSet<ObjectId> = objects.iter().map(Object::id).collect();
        let mut effects = Vec::new();
        for id in self.ids(kind).into_iter().filter(|id| !keep.contains(id)) {
            effects.extend(self.delete(&id));
        }
        for object in objects.iter().filter(|object| object.kind() == kind) {
            effects.extend(self.apply(object));
        }
        effects
    }

    /// Applies, deletes or resets.
    fn update(&mut self, change: &Change) -> Vec<Self::Effect> {
        match change {
            Change::Apply(object) => self.apply(object),
            Change::Delete(id) => self.delete(id),
            Change::Reset(kind, objects) => self.reset(*kind, objects),
        }
    }
}
