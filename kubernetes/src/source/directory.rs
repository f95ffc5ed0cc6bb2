//! A directory of ordinary manifests as a source: one object or many per file, YAML or JSON, live on change.
//!
//! - Files named `*.yaml`, `*.yml` and `*.json` are read, in subdirectories too; hidden ones and what editors leave behind
//!   are not. Symbolic links are followed, so mounted ConfigMaps work.
//! - A file is read when its writer has closed it or renamed it into place; only the file concerned is read, and of it
//!   only the documents that have changed.
//! - A file that cannot be used keeps its last good objects and is a [`Problem`]. Of an object in two files, the one in
//!   the file that sorts first is used, and the other is a problem.

mod contents;
mod manifest;
mod reading;
mod tree;
mod unique_keys;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;

use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind};
use notify::{Event, EventKind, RecommendedWatcher};
use parking_lot::Mutex;
use tokio::sync::{mpsc as batches, watch};
use tokio::time::Instant;

use super::{Change, Freshness, Problem, Source, nothing};
use reading::first_failure;
use tree::Tree;

/// Why a directory cannot be a source.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// It cannot be read or watched.
    #[error("{path}: {reason}")]
    Unreadable {
        /// The directory.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A file in it contains something that is not a manifest. Only at the start; later the last good state is kept.
    #[error("{0}")]
    Malformed(Problem),
}

/// How many files make a piece of the initial state.
const FILES_PER_PIECE: usize = 256;

/// Reads the directory (and its subdirectories), then watches it on a thread of its own until the source is dropped.
///
/// Everything is read twice at the start: to say at once what is wrong, and then piece by piece as it is asked for.
///
/// # Errors
/// When the directory cannot be read or watched, or a file in it does not parse.
pub fn open(path: &Path) -> Result<Source, DirectoryError> {
    let (signals, arrivals) = mpsc::channel();
    let watcher = watcher(signals).map_err(|error| unreadable(path, &error))?;
    let watcher = Arc::new(Mutex::new(watcher));
    let mut tree = Tree::new(path, Arc::downgrade(&watcher)).map_err(|error| unreadable(path, &error))?;
    let files = tree.list().map_err(|error| unreadable(path, &error))?;
    if let Some(problem) = first_failure(&files) {
        return Err(DirectoryError::Malformed(problem));
    }
    let (pieces, initial) = batches::channel(1);
    let (changes, batches) = batches::unbounded_channel();
    let (report, problems) = watch::channel(Vec::new());
    let publisher = Publisher { changes, report };
    let follower = std::thread::Builder::new().name("manifests".into());
    let started = follower.spawn(move || {
        if hand_out(&mut tree, &files, pieces, &publisher) {
            follow(&mut tree, &arrivals, &publisher);
        }
    });
    started.map_err(|error| unreadable(path, &error))?;
    let watching = Some(Box::new(watcher) as _);
    Ok(Source {
        pieces: Some(initial),
        changes: batches,
        problems,
        freshness: always_current(),
        gathered: Vec::new(),
        watching,
    })
}

/// What is read is what is there.
fn always_current() -> watch::Receiver<Freshness> {
    let current = Freshness {
        current: true,
        since: Instant::now(),
    };
    watch::Sender::new(current).subscribe()
}

/// Sends the initial state; `false` when the source was dropped.
fn hand_out(tree: &mut Tree, files: &[PathBuf], pieces: batches::Sender<Vec<Change>>, publisher: &Publisher) -> bool {
    let mut wanted = pieces.blocking_send(nothing()).is_ok();
    for files in files.chunks(FILES_PER_PIECE) {
        wanted = wanted && pieces.blocking_send(tree.read(files)).is_ok();
    }
    publisher.problems(tree.problems());
    drop(pieces); // the initial state is complete
    wanted
}

fn unreadable(path: &Path, error: &impl std::fmt::Display) -> DirectoryError {
    DirectoryError::Unreadable {
        path: path.into(),
        reason: error.to_string(),
    }
}

/// What the file system reports.
enum Signal {
    /// Something happened to this path.
    Touched {
        path: PathBuf,
        /// It may still be open for writing; its closing will be reported too.
        created: bool,
    },
    /// Signals were lost.
    Lost,
}

fn watcher(signals: mpsc::Sender<Signal>) -> notify::Result<RecommendedWatcher> {
    notify::recommended_watcher(move |event: notify::Result<Event>| {
        for signal in signals_of(event) {
            let _ = signals.send(signal); // without a follower the source was dropped
        }
    })
}

fn signals_of(event: notify::Result<Event>) -> Vec<Signal> {
    let event = match event {
        Ok(event) => event,
        Err(error) => {
            tracing::warn!(%error, "watching the manifests failed; reading all of them again");
            return vec![Signal::Lost];
        }
    };
    if event.need_rescan() {
        return vec![Signal::Lost];
    }
    if !matters(event.kind) {
        return Vec::new();
    }
    let created = cfg!(target_os = "linux") && matches!(event.kind, EventKind::Create(CreateKind::File));
    event
        .paths
        .into_iter()
        .map(|path| Signal::Touched { path, created })
        .collect()
}

/// Our own reading must not wake us, and on Linux a file's new content is reported when it is closed.
fn matters(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        EventKind::Modify(ModifyKind::Data(_)) => !cfg!(target_os = "linux"),
        EventKind::Any | EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_) | EventKind::Other => true,
    }
}

/// Until the source is dropped, which ends the signals.
fn follow(tree: &mut Tree, signals: &mpsc::Receiver<Signal>, publisher: &Publisher) {
    while let Ok(first) = signals.recv() {
        let touched = Touched::gather(first, signals);
        let changes = tree.look_again(touched);
        publisher.problems(tree.problems());
        publisher.changes(changes);
        if tree.is_gone() {
            return signals.iter().for_each(drop); // the end of the changes would be the end of the program
        }
        if publisher.changes.is_closed() {
            return;
        }
    }
}

/// What several signals together say.
#[derive(Default)]
struct Touched {
    /// Each path, and whether all that is known is its creation.
    paths: BTreeMap<PathBuf, bool>,
    lost: bool,
}

impl Touched {
    fn gather(first: Signal, signals: &mpsc::Receiver<Signal>) -> Self {
        let mut touched = Self::default();
        touched.add(first);
        touched.drain(signals);
        // A deleted file often exists again at once, under this name or another: a rename is two signals.
        if touched.paths.keys().any(|path| !path.exists())
            && let Ok(next) = signals.recv_timeout(std::time::Duration::from_millis(1))
        {
            touched.add(next);
            touched.drain(signals);
        }
        touched
    }

    fn drain(&mut self, signals: &mpsc::Receiver<Signal>) {
        while let Ok(next) = signals.try_recv() {
            self.add(next);
        }
    }

    fn add(&mut self, signal: Signal) {
        match signal {
            Signal::Touched { path, created } => *self.paths.entry(path).or_insert(true) &= created,
            Signal::Lost => self.lost = true,
        }
    }
}

/// Where changes and problems go.
struct Publisher {
    changes: batches::UnboundedSender<Vec<Change>>,
    report: watch::Sender<Vec<Problem>>,
}

impl Publisher {
    fn changes(&self, changes: Vec<Change>) {
        if !changes.is_empty() {
            let _ = self.changes.send(changes); // the source was dropped: the follower is about to end
        }
    }

    /// Each problem is logged once.
    fn problems(&self, problems: Vec<Problem>) {
        self.report.send_if_modified(|known| {
            if *known == problems {
                return false;
            }
            for problem in problems.iter().filter(|problem| !known.contains(problem)) {
                tracing::warn!(
                    place = problem.place,
                    reason = problem.reason,
                    "a manifest is not valid; its last valid state stays in force"
                );
            }
            *known = problems;
            true
        });
    }
}

#[cfg(test)]
mod tests;
