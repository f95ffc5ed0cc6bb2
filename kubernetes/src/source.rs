//! Objects arrive as `Apply`, `Delete` and `Reset`; what is behind them does not know where they come from.

pub mod directory;

use std::any::Any;

use tokio::sync::{mpsc, watch};

use crate::object::{Kind, Object, ObjectId};

/// A change of the set of objects.
#[derive(Debug, Clone)]
pub enum Change {
    /// The object is new or has changed.
    Apply(Object),
    /// The object is gone.
    Delete(ObjectId),
    /// The objects of this kind are exactly these; the first one of a kind is its initial list.
    Reset(Kind, Vec<Object>),
}

/// Something in the source that could not be read: it keeps its last good state, and this says what is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where: a file and the document in it, or an object.
    pub place: String,
    /// What is wrong and what is allowed.
    pub reason: String,
}

/// Objects and their changes.
#[derive(Debug)]
pub struct Source {
    pub(crate) changes: mpsc::UnboundedReceiver<Vec<Change>>,
    pub(crate) problems: watch::Receiver<Vec<Problem>>,
    /// What ends the watching when it is dropped.
    #[expect(dead_code, reason = "held for its drop")]
    pub(crate) watching: Option<Box<dyn Any + Send>>,
}

impl Source {
    /// The next changes, all that belong together in one batch; the first batch is the whole initial state (a `Reset`
    /// for each kind). `None` when the source has ended, which only happens when it is broken beyond repair.
    pub async fn next(&mut self) -> Option<Vec<Change>> {
        self.changes.recv().await
    }

    /// What could not be read, as it stands now.
    pub fn problems(&self) -> watch::Receiver<Vec<Problem>> {
        self.problems.clone()
    }
}
