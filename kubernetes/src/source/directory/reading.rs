//! Reads one file: its text, and the documents in it that are new or have changed.
//!
//! Nothing here is shared, so many files can be read on several threads at once.

use std::collections::{HashMap, HashSet};
use std::fs::{self, Metadata};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::manifest::{Document, Malformed, documents};
use crate::object::{Manifest, ObjectId};
use crate::source::Problem;

/// A document and the objects in it, as they were when it was read.
#[derive(Debug)]
pub(super) struct Held {
    /// Of its text; `None` when the document must be read again though it has not changed.
    pub(super) hash: Option<u64>,
    pub(super) ids: Box<[Arc<ObjectId>]>,
}

#[derive(Debug)]
pub(super) struct Reading {
    pub(super) hash: u64,
    pub(super) content: Content,
}

#[derive(Debug)]
pub(super) enum Content {
    Known(Box<[Arc<ObjectId>]>),
    New(Vec<Manifest>),
}

#[derive(Debug)]
pub(super) enum Failure {
    Gone,
    Unreadable(io::Error),
    Malformed(Malformed),
}

#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) stamp: Option<Stamp>,
    pub(super) documents: Result<Vec<Reading>, Failure>,
}

/// Shows whether a file has changed since it was read: a hash of its metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp(u64);

impl Stamp {
    pub(super) fn from_metadata(metadata: &Metadata) -> Self {
        let mut hasher = DefaultHasher::new();
        (
            metadata.dev(),
            metadata.ino(),
            metadata.size(),
            metadata.ctime(),
            metadata.ctime_nsec(),
        )
            .hash(&mut hasher);
        Self(hasher.finish())
    }

    /// `None` for a file that has just been changed: two writes within one tick of the file system's clock look alike.
    fn of_file_at_rest(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        let age = metadata
            .ctime()
            .abs_diff(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
        (age >= 2).then(|| Self::from_metadata(&metadata))
    }
}

/// Reads a file of which these documents are known.
pub(super) fn load(path: &Path, known: &[Held]) -> Loaded {
    let stamp = Stamp::of_file_at_rest(path); // before the text, so that a change in between is not missed
    let documents = match fs::read_to_string(path) {
        Ok(text) => read(path, &text, known).map_err(Failure::Malformed),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Failure::Gone),
        Err(error) => Err(Failure::Unreadable(error)),
    };
    Loaded { stamp, documents }
}

/// Reads files of which nothing is known yet.
pub(super) fn load_all(files: &[PathBuf]) -> Vec<Loaded> {
    on_threads(files, |files| {
        files.iter().map(|path| load(path, &[])).collect::<Vec<_>>()
    })
    .into_iter()
    .flatten()
    .collect()
}

/// The first of the files that is not valid, and why. A file that was deleted meanwhile does not count.
pub(super) fn first_failure(files: &[PathBuf]) -> Option<Problem> {
    let first_of = |files: &[PathBuf]| {
        files
            .iter()
            .find_map(|path| load(path, &[]).documents.err()?.problem(path))
    };
    on_threads(files, first_of).into_iter().flatten().next()
}

/// Divides the files among threads, and returns the results in the files' order.
fn on_threads<T: Send>(files: &[PathBuf], work: impl Fn(&[PathBuf]) -> T + Sync) -> Vec<T> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(4);
    let share = files.len().div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        let work = &work;
        let shares: Vec<_> = files
            .chunks(share)
            .map(|files| scope.spawn(move || work(files)))
            .collect();
        shares
            .into_iter()
            .map(|share| share.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

impl Failure {
    /// The problem to report; `None` when the file was deleted.
    pub(super) fn problem(&self, path: &Path) -> Option<Problem> {
        let path = path.display();
        let (place, reason) = match self {
            Self::Gone => return None,
            Self::Unreadable(error) => (path.to_string(), format!("cannot be read: {error}")),
            Self::Malformed(malformed) => (
                format!("{path}: document {}", malformed.document),
                malformed.reason.clone(),
            ),
        };
        Some(Problem { place, reason })
    }
}

/// The documents of a file's text; those that are known already are not read again.
pub(super) fn read(path: &Path, text: &str, known: &[Held]) -> Result<Vec<Reading>, Malformed> {
    if text.trim().is_empty() && !known.is_empty() {
        return Err(Malformed {
            document: 1,
            reason: "the file is empty; delete the file to delete its objects".into(),
        });
    }
    let by_hash: HashMap<u64, &Held> = known.iter().filter_map(|held| Some((held.hash?, held))).collect();
    let named_json = path
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    let documents = documents(text, named_json)?;
    let readings = documents
        .iter()
        .map(|document| Reading::new(document, &by_hash))
        .collect::<Result<Vec<_>, _>>()?;
    each_once(&readings)?;
    Ok(readings)
}

impl Reading {
    fn new(document: &Document<'_>, known: &HashMap<u64, &Held>) -> Result<Self, Malformed> {
        let hash = document.hash();
        let content = match known.get(&hash) {
            Some(held) => Content::Known(held.ids.clone()),
            None => Content::New(document.objects()?),
        };
        Ok(Self { hash, content })
    }
}

fn each_once(readings: &[Reading]) -> Result<(), Malformed> {
    let mut seen = HashSet::new();
    for (index, reading) in readings.iter().enumerate() {
        let twice = match &reading.content {
            Content::Known(ids) => ids
                .iter()
                .map(|id| ObjectId::clone(id))
                .find(|id| !seen.insert(id.clone())),
            Content::New(manifests) => {
                let mut ids = manifests.iter().map(|manifest| manifest.object.id());
                ids.find(|id| !seen.insert(id.clone()))
            }
        };
        if let Some(id) = twice {
            return Err(Malformed {
                document: index + 1,
                reason: format!("{id} is defined twice in this file; keep one of them"),
            });
        }
    }
    Ok(())
}
