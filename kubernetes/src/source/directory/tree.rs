//! The directory tree: which files there are, when they are read, and which directories are watched.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::ops::Bound;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Weak;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use parking_lot::Mutex;

use super::Touched;
use super::contents::{Contents, Outcome};
use super::reading::{Stamp, load, load_all};
use crate::source::{Change, Problem};

pub(super) struct Tree {
    root: PathBuf,
    watcher: Weak<Mutex<RecommendedWatcher>>,
    contents: Contents,
    /// Every directory that is watched, each for itself: a new one must be watched before it is listed.
    directories: BTreeSet<PathBuf>,
    /// The one path that each directory is read at, however many links lead to it: their number can grow exponentially.
    ways: HashMap<DirectoryId, PathBuf>,
    /// Where to look again when anything changes: links to directories that are read at another path.
    other_ways: BTreeSet<PathBuf>,
    unwatched: BTreeMap<PathBuf, Problem>,
    gone: bool,
}

impl Tree {
    pub(super) fn new(root: &Path, watcher: Weak<Mutex<RecommendedWatcher>>) -> io::Result<Self> {
        let root = std::path::absolute(root)?;
        Ok(Self {
            root,
            watcher,
            contents: Contents::default(),
            directories: BTreeSet::new(),
            ways: HashMap::new(),
            other_ways: BTreeSet::new(),
            unwatched: BTreeMap::new(),
            gone: false,
        })
    }

    /// Watches all directories, and returns the files in them.
    pub(super) fn list(&mut self) -> io::Result<Vec<PathBuf>> {
        let root = self.root.clone();
        fs::read_dir(&root)?; // its error is clearer than that of the watch
        let mut files = Vec::new();
        self.walk(&root, &mut files, &mut Outcome::default());
        match self.unwatched.get(&root) {
            Some(problem) => Err(io::Error::other(problem.reason.clone())),
            None => Ok(files),
        }
    }

    pub(super) fn read(&mut self, files: &[PathBuf]) -> Vec<Change> {
        let mut outcome = Outcome::default();
        for (path, loaded) in files.iter().zip(load_all(files)) {
            self.contents.put(path, loaded, &mut outcome);
        }
        outcome.changes
    }

    pub(super) fn look_again(&mut self, touched: Touched) -> Vec<Change> {
        let mut outcome = Outcome::default();
        if touched.lost {
            let root = self.root.clone();
            self.look_at(&root, false, &mut outcome);
        }
        // What is there goes first, so that an object that has moved to another file is never missing.
        let (there, missing): (Vec<_>, Vec<_>) = touched.paths.into_iter().partition(|(path, _)| path.exists());
        for (path, created) in there {
            self.look_at(&path, created, &mut outcome);
        }
        for path in std::mem::take(&mut self.other_ways) {
            self.look_at(&path, false, &mut outcome);
        }
        for (path, created) in missing {
            self.look_at(&path, created, &mut outcome);
        }
        while let Some(path) = outcome.read_again.pop() {
            self.read_file(&path, &mut outcome);
        }
        outcome.changes
    }

    /// The current problems.
    pub(super) fn problems(&self) -> Vec<Problem> {
        self.unwatched
            .values()
            .cloned()
            .chain(self.contents.problems())
            .collect()
    }

    /// Whether the directory itself was deleted. The objects read from it stay in force.
    pub(super) fn is_gone(&self) -> bool {
        self.gone
    }

    fn look_at(&mut self, path: &Path, created: bool, outcome: &mut Outcome) {
        let Ok(inside) = path.strip_prefix(&self.root) else {
            return;
        };
        if self.gone {
            return; // its files went with it
        }
        if let Some(parent) = swapped_within(path, inside) {
            self.read_directory(&parent, outcome);
            return;
        }
        if inside.components().any(|part| is_hidden(part.as_os_str())) {
            return;
        }
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => self.read_directory(path, outcome),
            Ok(metadata) if metadata.is_file() && is_manifest(path) => {
                self.forget_below(path, outcome);
                if !(created && is_being_written(path, &metadata)) {
                    self.read_file(path, outcome);
                }
            }
            Ok(_) => self.forget(path, outcome),
            Err(_) if path == self.root => self.lose_root(),
            Err(_) => self.forget(path, outcome),
        }
    }

    fn read_directory(&mut self, directory: &Path, outcome: &mut Outcome) {
        let mut files = Vec::new();
        self.walk(directory, &mut files, outcome);
        for file in files {
            self.read_file(&file, outcome);
        }
    }

    /// Watches the directory and those below and finds the files that have changed since they were read; forgets deleted ones.
    fn walk(&mut self, directory: &Path, files: &mut Vec<PathBuf>, outcome: &mut Outcome) {
        self.contents.remove(directory, outcome); // it may have been a file
        if !self.is_the_way(directory) {
            self.other_ways.insert(directory.into());
            return self.forget_below(directory, outcome);
        }
        self.watch(directory);
        let Ok(entries) = fs::read_dir(directory) else {
            return self.forget(directory, outcome);
        };
        let entries: BTreeSet<PathBuf> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
        for path in entries.iter().filter(|path| !path.file_name().is_some_and(is_hidden)) {
            let Ok(metadata) = fs::metadata(path) else { continue };
            if metadata.is_dir() && !contains_itself(path) {
                self.walk(path, files, outcome);
            } else if metadata.is_file()
                && is_manifest(path)
                && !self.contents.is_as_read(path, Stamp::from_metadata(&metadata))
            {
                files.push(path.clone());
            }
        }
        self.forget_missing(directory, &entries, outcome);
    }

    /// Whether the directory is to be read at this path. Another path leads to it no more when a link has been changed.
    fn is_the_way(&mut self, directory: &Path) -> bool {
        let Some(id) = id_of(directory) else { return true };
        let known = self.ways.get(&id).filter(|known| *known != directory).cloned();
        if let Some(known) = known {
            if self.directories.contains(&known) && id_of(&known) == Some(id) {
                return false;
            }
            if let Some(watcher) = self.watcher.upgrade() {
                let _ = watcher.lock().unwatch(&known); // later it would end the watch of the new path
            }
            self.other_ways.insert(known);
        }
        self.ways.insert(id, directory.into());
        if self.ways.len() > 2 * self.directories.len() + 1 {
            self.ways.retain(|id, way| id_of(way) == Some(*id));
        }
        true
    }

    fn forget_missing(&mut self, directory: &Path, entries: &BTreeSet<PathBuf>, outcome: &mut Outcome) {
        let files = self
            .contents
            .below(directory)
            .into_iter()
            .map(|file| file.to_path_buf());
        let known: BTreeSet<PathBuf> = files
            .chain(self.directories_below(directory))
            .filter(|path| path.parent() == Some(directory))
            .collect();
        for path in known.difference(entries) {
            self.forget(path, outcome);
        }
    }

    fn read_file(&mut self, path: &Path, outcome: &mut Outcome) {
        let loaded = load(path, self.contents.documents(path));
        self.contents.put(path, loaded, outcome);
    }

    /// Nothing is at this path any more.
    fn forget(&mut self, path: &Path, outcome: &mut Outcome) {
        self.forget_below(path, outcome);
        self.contents.remove(path, outcome);
    }

    /// No directory is at this path any more.
    fn forget_below(&mut self, path: &Path, outcome: &mut Outcome) {
        if !self.directories.contains(path) {
            return;
        }
        for directory in self.directories_below(path) {
            self.unwatch(&directory);
        }
        for file in self.contents.below(path) {
            self.contents.remove(&file, outcome);
        }
    }

    fn directories_below(&self, path: &Path) -> Vec<PathBuf> {
        let from_here = self
            .directories
            .range::<Path, _>((Bound::Included(path), Bound::Unbounded));
        from_here
            .take_while(|directory| directory.starts_with(path))
            .cloned()
            .collect()
    }

    /// Also when it is watched already: another directory may now have this name.
    fn watch(&mut self, directory: &Path) {
        let Some(watcher) = self.watcher.upgrade() else { return };
        let mut watcher = watcher.lock();
        if self.directories.contains(directory) {
            let _ = watcher.unwatch(directory); // the system has dropped it already when the directory is gone
        }
        match watcher.watch(directory, RecursiveMode::NonRecursive) {
            Ok(()) => self.unwatched.remove(directory),
            Err(error) => self.unwatched.insert(directory.into(), not_watched(directory, &error)),
        };
        self.directories.insert(directory.into());
    }

    fn unwatch(&mut self, directory: &Path) {
        if let Some(watcher) = self.watcher.upgrade() {
            let _ = watcher.lock().unwatch(directory); // the system has dropped it already when the directory is gone
        }
        self.directories.remove(directory);
        self.unwatched.remove(directory);
    }

    fn lose_root(&mut self) {
        self.gone = true;
        let reason = "the directory was deleted; the objects read from it stay in force until a restart".to_owned();
        self.unwatched.insert(
            self.root.clone(),
            Problem {
                place: self.root.display().to_string(),
                reason,
            },
        );
    }
}

fn not_watched(directory: &Path, error: &notify::Error) -> Problem {
    Problem {
        place: directory.display().to_string(),
        reason: format!("cannot be watched, so changes in it are not noticed: {error}"),
    }
}

/// A mounted ConfigMap is changed by renaming `..data`, to which the visible links point. Returns the directory of it.
fn swapped_within(path: &Path, inside: &Path) -> Option<PathBuf> {
    let hidden_above = inside.parent()?.components().any(|part| is_hidden(part.as_os_str()));
    let is_link = path.file_name()?.as_encoded_bytes().starts_with(b"..");
    (is_link && !hidden_above)
        .then(|| path.parent().map(Path::to_path_buf))
        .flatten()
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|extension| {
        ["yaml", "yml", "json"]
            .iter()
            .any(|allowed| extension.eq_ignore_ascii_case(allowed))
    })
}

/// A file that has just been made will be closed by its writer; a link to one that was there before will not.
fn is_being_written(path: &Path, metadata: &Metadata) -> bool {
    let is_link = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink());
    !is_link && metadata.nlink() == 1
}

/// Device and inode.
type DirectoryId = (u64, u64);

fn id_of(directory: &Path) -> Option<DirectoryId> {
    let metadata = fs::metadata(directory).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// Whether a directory is a link to one that it is in.
fn contains_itself(directory: &Path) -> bool {
    let (Ok(target), Some(Ok(parent))) = (directory.canonicalize(), directory.parent().map(Path::canonicalize)) else {
        return false;
    };
    parent.starts_with(target)
}
