//! What the files hold, and what a file's new text changes: pure data, no file is read here.
//!
//! Objects themselves are not kept, only who holds which: there can be tens of thousands.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::manifest::{Document, Malformed, documents};
use crate::object::{Object, ObjectId};
use crate::source::{Change, Problem};

/// The files and the objects in them.
#[derive(Debug, Default)]
pub(super) struct Contents {
    files: BTreeMap<Arc<Path>, File>,
    claims: HashMap<Arc<ObjectId>, Claim>,
    /// The objects that several files hold.
    twice: BTreeSet<Arc<ObjectId>>,
    problems: BTreeMap<Arc<Path>, Problem>,
}

/// A file's last good documents.
#[derive(Debug, Default)]
struct File {
    documents: Vec<Held>,
}

/// A document and the objects in it.
#[derive(Debug)]
struct Held {
    /// Of its text; `None` when the document must be read again though it has not changed.
    hash: Option<u64>,
    ids: Box<[Arc<ObjectId>]>,
}

/// Which file an object is taken from, and which others hold it too.
#[derive(Debug)]
struct Claim {
    owner: Arc<Path>,
    others: Vec<Arc<Path>>,
}

/// What new text did.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) changes: Vec<Change>,
    /// Files whose objects are in force now because the file that went before has let go of them: read these again.
    pub(super) read_again: Vec<PathBuf>,
}

impl Contents {
    /// A file's text. When it cannot be used the file keeps its last good documents and the problem is noted.
    pub(super) fn put(&mut self, path: &Path, text: &str, outcome: &mut Outcome) {
        match self.read(path, text) {
            Ok(documents) => self.replace(path, documents, outcome),
            Err(malformed) => self.put_problem(path, Some(malformed.document), malformed.reason),
        }
    }

    /// The file cannot be read; it keeps its last good documents.
    pub(super) fn put_unreadable(&mut self, path: &Path, reason: &str) {
        self.put_problem(path, None, format!("cannot be read: {reason}"));
    }

    fn put_problem(&mut self, path: &Path, document: Option<usize>, reason: String) {
        let document = document.map_or(String::new(), |number| format!(": document {number}"));
        let place = format!("{}{document}", path.display());
        self.problems.insert(path.into(), Problem { place, reason });
        self.files.entry(path.into()).or_default();
    }

    /// The file is gone.
    pub(super) fn remove(&mut self, path: &Path, outcome: &mut Outcome) {
        self.problems.remove(path);
        let Some((path, file)) = self.files.remove_entry(path) else {
            return;
        };
        for id in file.documents.into_iter().flat_map(|document| document.ids) {
            self.release(&id, &path, outcome);
        }
    }

    /// The files at or below a path.
    pub(super) fn below(&self, path: &Path) -> Vec<Arc<Path>> {
        let from_here = self.files.range::<Path, _>((Bound::Included(path), Bound::Unbounded));
        from_here
            .map(|(file, _)| file)
            .take_while(|file| file.starts_with(path))
            .cloned()
            .collect()
    }

    /// What stands in the way of using everything that the files hold.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let twice = self.twice.iter().filter_map(|id| Some((id, self.claims.get(id)?)));
        let twice = twice.flat_map(|(id, claim)| claim.others.iter().map(|other| held_twice(id, other, &claim.owner)));
        self.problems.values().cloned().chain(twice).collect()
    }

    /// The first file that cannot be used.
    pub(super) fn malformed(&self) -> Option<&Problem> {
        self.problems.values().next()
    }

    /// The documents of new text; those that are held already are not read again.
    fn read(&self, path: &Path, text: &str) -> Result<Vec<Read>, Malformed> {
        let held = self
            .files
            .get(path)
            .map(|file| file.documents.as_slice())
            .unwrap_or_default();
        if text.trim().is_empty() && !held.is_empty() {
            return Err(Malformed {
                document: 1,
                reason: "the file is empty; remove it if its objects are to go".into(),
            });
        }
        let held: HashMap<u64, &Held> = held.iter().filter_map(|held| Some((held.hash?, held))).collect();
        let named_json = path
            .extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
        let documents = documents(text, named_json)?;
        let read = documents
            .iter()
            .map(|document| Read::new(document, &held))
            .collect::<Result<Vec<_>, _>>()?;
        each_once(&read)?;
        Ok(read)
    }

    fn replace(&mut self, path: &Path, documents: Vec<Read>, outcome: &mut Outcome) {
        self.problems.remove(path);
        let path: Arc<Path> = self
            .files
            .get_key_value(path)
            .map_or_else(|| path.into(), |(path, _)| path.clone());
        let mut held = Vec::with_capacity(documents.len());
        for document in documents {
            let mut objects = document.objects.into_iter();
            let ids = document.ids.into_iter().map(|id| {
                let (id, ours) = self.claim(id, &path);
                outcome
                    .changes
                    .extend(objects.next().filter(|_| ours).map(Change::Apply));
                id
            });
            held.push(Held {
                hash: Some(document.hash),
                ids: ids.collect(),
            });
        }
        let before = self
            .files
            .insert(path.clone(), File { documents: held })
            .unwrap_or_default();
        self.release_missing(&path, before, outcome);
    }

    /// Lets go of what the file held before and does not hold any more.
    fn release_missing(&mut self, path: &Arc<Path>, before: File, outcome: &mut Outcome) {
        let now: HashSet<Arc<ObjectId>> = match self.files.get(path) {
            Some(file) => file
                .documents
                .iter()
                .flat_map(|document| document.ids.iter().cloned())
                .collect(),
            None => HashSet::new(),
        };
        let gone = before
            .documents
            .into_iter()
            .flat_map(|document| document.ids)
            .filter(|id| !now.contains(id));
        for id in gone.collect::<Vec<_>>() {
            self.release(&id, path, outcome);
        }
    }

    /// The one copy of the id that everything here shares, and whether the object is to be taken from this file: of
    /// several files the one that sorts first.
    fn claim(&mut self, id: Arc<ObjectId>, path: &Arc<Path>) -> (Arc<ObjectId>, bool) {
        let mut entry = match self.claims.entry(id) {
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

    /// The object is not in this file any more; another file that holds it too takes its place.
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

/// A document of new text.
struct Read {
    number: usize,
    hash: u64,
    ids: Vec<Arc<ObjectId>>,
    /// In the order of `ids`; empty when the document is held already.
    objects: Vec<Object>,
}

impl Read {
    fn new(document: &Document<'_>, held: &HashMap<u64, &Held>) -> Result<Self, Malformed> {
        let (number, hash) = (document.number, document.hash());
        if let Some(held) = held.get(&hash) {
            return Ok(Self {
                number,
                hash,
                ids: held.ids.to_vec(),
                objects: Vec::new(),
            });
        }
        let objects = document.objects()?;
        Ok(Self {
            number,
            hash,
            ids: objects.iter().map(|object| Arc::new(object.id())).collect(),
            objects,
        })
    }
}

fn each_once(documents: &[Read]) -> Result<(), Malformed> {
    let mut seen = HashSet::new();
    for document in documents {
        if let Some(id) = document.ids.iter().find(|id| !seen.insert(*id)) {
            return Err(Malformed {
                document: document.number,
                reason: format!("{id} stands twice in this file; keep one of them"),
            });
        }
    }
    Ok(())
}

fn held_twice(id: &ObjectId, other: &Path, owner: &Path) -> Problem {
    let reason = format!("{id} is taken from {}; keep one of the two", owner.display());
    Problem {
        place: other.display().to_string(),
        reason,
    }
}

#[cfg(test)]
mod tests;
