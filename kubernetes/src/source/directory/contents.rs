//! What the files contain, and what a file's new text changes: pure data, no file is read here.
//!
//! Objects themselves are not kept, only which file contains which: there can be tens of thousands.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::reading::{Content, Held, Loaded, Reading, Stamp};
use crate::fields::FieldError;
use crate::object::{Manifest, ObjectId};
use crate::source::{Change, Problem};

#[derive(Debug, Default)]
pub(super) struct Contents {
    files: BTreeMap<Arc<Path>, File>,
    claims: HashMap<Arc<ObjectId>, Claim>,
    /// The objects that several files contain.
    twice: BTreeSet<Arc<ObjectId>>,
    problems: BTreeMap<Arc<Path>, Problem>,
    /// The fields of objects in force that are not known.
    passed_over: BTreeMap<Arc<ObjectId>, Problem>,
}

/// A file's last good documents.
#[derive(Debug, Default)]
struct File {
    documents: Box<[Held]>,
    stamp: Option<Stamp>,
}

/// The file that an object is read from, and the other files that contain it.
#[derive(Debug)]
struct Claim {
    owner: Arc<Path>,
    others: Vec<Arc<Path>>,
}

#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) changes: Vec<Change>,
    /// Files to read again: their objects are in force now because the file that had precedence no longer contains them.
    pub(super) read_again: Vec<PathBuf>,
}

impl Contents {
    /// The last valid documents of a file.
    pub(super) fn documents(&self, path: &Path) -> &[Held] {
        self.files.get(path).map(|file| &*file.documents).unwrap_or_default()
    }

    /// Whether the file is as it was when it was read.
    pub(super) fn is_as_read(&self, path: &Path, stamp: Stamp) -> bool {
        self.files.get(path).is_some_and(|file| file.stamp == Some(stamp))
    }

    /// A file as it is now. When it cannot be used it keeps its last good documents and the problem is noted.
    pub(super) fn put(&mut self, path: &Path, loaded: Loaded, outcome: &mut Outcome) {
        match loaded.documents {
            Ok(documents) => self.replace(path, documents, outcome),
            Err(failure) => match failure.problem(path) {
                Some(problem) => self.put_problem(path, problem),
                None => return self.remove(path, outcome),
            },
        }
        if let Some(file) = self.files.get_mut(path) {
            file.stamp = loaded.stamp;
        }
    }

    fn put_problem(&mut self, path: &Path, problem: Problem) {
        self.problems.insert(path.into(), problem);
        self.files.entry(path.into()).or_default();
    }

    pub(super) fn remove(&mut self, path: &Path, outcome: &mut Outcome) {
        self.problems.remove(path);
        let Some((path, file)) = self.files.remove_entry(path) else {
            return;
        };
        for id in file.documents.into_iter().flat_map(|document| document.ids) {
            self.release(&id, &path, outcome);
        }
    }

    pub(super) fn below(&self, path: &Path) -> Vec<Arc<Path>> {
        let from_here = self.files.range::<Path, _>((Bound::Included(path), Bound::Unbounded));
        from_here
            .map(|(file, _)| file)
            .take_while(|file| file.starts_with(path))
            .cloned()
            .collect()
    }

    /// Why not everything in the files is used.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let twice = self.twice.iter().filter_map(|id| Some((id, self.claims.get(id)?)));
        let twice = twice.flat_map(|(id, claim)| claim.others.iter().map(|other| held_twice(id, other, &claim.owner)));
        let passed_over = self.passed_over.values();
        self.problems
            .values()
            .chain(passed_over)
            .cloned()
            .chain(twice)
            .collect()
    }

    fn replace(&mut self, path: &Path, readings: Vec<Reading>, outcome: &mut Outcome) {
        self.problems.remove(path);
        let known = self.files.get_key_value(path).map(|(path, _)| path.clone());
        let path = known.unwrap_or_else(|| path.into());
        let documents = readings
            .into_iter()
            .map(|reading| self.hold(reading, &path, outcome))
            .collect();
        let file = File { documents, stamp: None };
        let before = self.files.insert(path.clone(), file).unwrap_or_default();
        self.release_missing(&path, before, outcome);
    }

    fn hold(&mut self, reading: Reading, path: &Arc<Path>, outcome: &mut Outcome) -> Held {
        let ids = match reading.content {
            Content::Known(ids) => ids,
            Content::New(manifests) => {
                let mut ids = Vec::with_capacity(manifests.len());
                for Manifest { object, passed_over } in manifests {
                    let (id, ours) = self.claim(object.id(), path);
                    if ours {
                        self.note_passed_over(&id, path, &passed_over);
                        outcome.changes.push(Change::Apply(object));
                    }
                    ids.push(id);
                }
                ids.into_boxed_slice()
            }
        };
        Held {
            hash: Some(reading.hash),
            ids,
        }
    }

    fn note_passed_over(&mut self, id: &Arc<ObjectId>, path: &Path, fields: &[FieldError]) {
        if fields.is_empty() {
            self.passed_over.remove(id);
        } else {
            self.passed_over.insert(id.clone(), passed_over(id, path, fields));
        }
    }

    /// Releases what the file contained before and does not contain any more.
    fn release_missing(&mut self, path: &Arc<Path>, before: File, outcome: &mut Outcome) {
        if before.documents.is_empty() {
            return;
        }
        let held = self
            .documents(path)
            .iter()
            .flat_map(|document| document.ids.iter().cloned());
        let held: HashSet<Arc<ObjectId>> = held.collect();
        let ids = before.documents.into_iter().flat_map(|document| document.ids);
        for id in ids.filter(|id| !held.contains(id)) {
            self.release(&id, path, outcome);
        }
    }

    /// The shared copy of the id, and whether the object is read from this file: of several files the one that sorts first.
    fn claim(&mut self, id: ObjectId, path: &Arc<Path>) -> (Arc<ObjectId>, bool) {
        let mut entry = match self.claims.entry(Arc::new(id)) {
            Entry::Occupied(entry) => entry,
            Entry::Vacant(entry) => {
                let id = entry.key().clone();
                entry.insert(Claim {
                    owner: path.clone(),
                    others: Vec::new(),
                });
                return (id, true);
            }
        };
        let (id, claim) = (entry.key().clone(), entry.get_mut());
        if *path < claim.owner {
            let former = std::mem::replace(&mut claim.owner, path.clone());
            claim.others.retain(|other| other != path);
            claim.others.push(former);
        } else if *path != claim.owner && !claim.others.contains(path) {
            claim.others.push(path.clone());
        }
        if !claim.others.is_empty() {
            self.twice.insert(id.clone());
        }
        (id, claim.owner == *path)
    }

    /// The object is not in this file any more; another file that contains it takes its place.
    fn release(&mut self, id: &Arc<ObjectId>, path: &Arc<Path>, outcome: &mut Outcome) {
        let Some(claim) = self.claims.get_mut(id) else { return };
        let next = claim.others.iter().filter(|other| *other != path).min().cloned();
        let was_ours = claim.owner == *path;
        if let (true, Some(next)) = (was_ours, &next) {
            claim.owner = next.clone();
        }
        let Claim { owner, others } = claim;
        others.retain(|other| other != path && other != owner);
        if others.is_empty() {
            self.twice.remove(id);
        }
        match (was_ours, next) {
            (true, Some(next)) => {
                self.forget_text(&next, id);
                outcome.read_again.push(next.to_path_buf());
            }
            (true, None) => {
                self.claims.remove(id);
                self.passed_over.remove(id);
                outcome.changes.push(Change::Delete(ObjectId::clone(id)));
            }
            (false, _) => {}
        }
    }

    fn forget_text(&mut self, path: &Path, id: &Arc<ObjectId>) {
        let documents = self.files.get_mut(path).map(|file| file.documents.iter_mut());
        for document in documents
            .into_iter()
            .flatten()
            .filter(|document| document.ids.contains(id))
        {
            document.hash = None;
        }
    }
}

fn passed_over(id: &ObjectId, path: &Path, fields: &[FieldError]) -> Problem {
    let fields = fields.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    Problem {
        place: path.display().to_string(),
        reason: format!("{id} is used without fields that are not known: {fields}"),
    }
}

fn held_twice(id: &ObjectId, other: &Path, owner: &Path) -> Problem {
    let reason = format!("{id} is already read from {}; keep one of the two", owner.display());
    Problem {
        place: other.display().to_string(),
        reason,
    }
}

#[cfg(test)]
mod tests;
