//! Objects and their changes, from an API server or a directory; their readers need not know which.

pub mod cluster;
pub mod directory;

use std::any::Any;
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

pub use crate::index::Change;
use crate::object::{Kind, Object};
use crate::source::cluster::ClientError;
use crate::source::directory::DirectoryError;

/// An object or file that is not valid; its last valid state stays in force. Or an object that is used without the
/// fields that are not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// A file and the document in it, or an object.
    pub place: String,
    /// What is wrong and what is allowed.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.reason)
    }
}

/// Whether the user must correct an error of a source: no cluster, or invalid manifests. All other errors may pass by
/// themselves.
pub fn is_unusable(error: &(dyn Error + 'static)) -> bool {
    let malformed = matches!(error.downcast_ref(), Some(DirectoryError::Malformed(_)));
    malformed || matches!(error.downcast_ref(), Some(ClientError::NoCluster(_)))
}

/// The age of the known state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freshness {
    /// Whether changes arrive.
    pub current: bool,
    /// Since when; if changes do not arrive, the time of the last successful read.
    pub since: Instant,
}

impl Freshness {
    /// How long ago the state was last current; zero while it is.
    pub fn age(self) -> Duration {
        if self.current {
            Duration::ZERO
        } else {
            self.since.elapsed()
        }
    }
}

/// Objects and their changes.
#[derive(Debug)]
pub struct Source {
    /// The initial state, piece by piece; `None` when all of it has been returned.
    pub(crate) pieces: Option<mpsc::Receiver<Vec<Change>>>,
    pub(crate) changes: mpsc::UnboundedReceiver<Vec<Change>>,
    pub(crate) problems: watch::Receiver<Vec<Problem>>,
    pub(crate) freshness: watch::Receiver<Freshness>,
    /// Pieces of an incomplete batch: [`Source::next`] may be cancelled.
    pub(crate) gathered: Vec<Change>,
    #[expect(dead_code, reason = "held for its drop")]
    pub(crate) watching: Option<Box<dyn Any + Send>>,
}

impl Source {
    /// The next batch of changes that belong together; the first batch is the whole initial state (a `Reset` for each
    /// kind). `None` when the source has ended, which only happens when it cannot recover.
    ///
    /// Cancelling loses nothing.
    pub async fn next(&mut self) -> Option<Vec<Change>> {
        if self.pieces.is_some() {
            while let Some(piece) = self.initial().await {
                self.gathered.extend(piece);
            }
            return Some(resets(std::mem::take(&mut self.gathered)));
        }
        self.changes.recv().await
    }

    /// The initial state in pieces, so that tens of thousands of objects need not be in memory at once: first an empty
    /// `Reset` for each kind, then `Apply`s. `None` when it is complete; [`Source::next`] continues from there.
    ///
    /// Cancelling loses nothing.
    pub async fn initial(&mut self) -> Option<Vec<Change>> {
        let piece = self.pieces.as_mut()?.recv().await;
        if piece.is_none() {
            self.pieces = None;
        }
        piece
    }

    /// The next piece of the initial state while it is not `complete`, and the next changes afterwards.
    ///
    /// Cancelling loses nothing.
    pub async fn next_part(&mut self, complete: bool) -> Option<Vec<Change>> {
        if complete {
            self.next().await
        } else {
            self.initial().await
        }
    }

    /// The age of the known state. A directory is always current.
    pub fn freshness(&self) -> watch::Receiver<Freshness> {
        self.freshness.clone()
    }

    /// The current problems.
    pub fn problems(&self) -> watch::Receiver<Vec<Problem>> {
        self.problems.clone()
    }
}

/// An empty `Reset` for each kind: how the initial state begins.
pub(crate) fn nothing() -> Vec<Change> {
    Kind::ALL
        .into_iter()
        .map(|kind| Change::Reset(kind, Vec::new()))
        .collect()
}

/// All pieces of the initial state as one batch.
fn resets(pieces: Vec<Change>) -> Vec<Change> {
    let mut kinds: BTreeMap<Kind, Vec<Object>> = Kind::ALL.into_iter().map(|kind| (kind, Vec::new())).collect();
    for change in pieces {
        match change {
            Change::Apply(object) => kinds.entry(object.kind()).or_default().push(object),
            Change::Reset(kind, objects) => kinds.entry(kind).or_default().extend(objects),
            Change::Delete(id) => kinds.entry(id.kind).or_default().retain(|object| object.id() != id),
        }
    }
    kinds
        .into_iter()
        .map(|(kind, objects)| Change::Reset(kind, objects))
        .collect()
}
