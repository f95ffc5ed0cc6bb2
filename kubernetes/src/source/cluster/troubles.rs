//! What is wrong now: failing watches and invalid objects. Published as problems and as freshness.

use std::collections::BTreeMap;

use jiff::Timestamp;
use tokio::sync::watch::Sender;
use tokio::time::Instant;

use super::failure::Failure;
use super::selection::Selection;
use crate::object::{Kind, ObjectId};
use crate::source::{Freshness, Problem};

struct Failing {
    kind: Kind,
    path: String,
    reason: String,
    /// Whether somebody has to fix it, such as missing permissions.
    refused: bool,
    /// Whether known objects become stale. Of a kind that is refused from the start none are known.
    stale: bool,
    since: Instant,
    began: Timestamp,
}

pub struct Troubles {
    failing: BTreeMap<u64, Failing>,
    invalid: BTreeMap<ObjectId, String>,
    changed: bool,
    problems: Sender<Vec<Problem>>,
    freshness: Sender<Freshness>,
}

impl Troubles {
    pub fn new(problems: Sender<Vec<Problem>>, freshness: Sender<Freshness>) -> Self {
        Self {
            failing: BTreeMap::new(),
            invalid: BTreeMap::new(),
            changed: false,
            problems,
            freshness,
        }
    }

    /// A watch fails, or still does.
    pub fn failing(&mut self, number: u64, selection: &Selection, failure: Failure, stale: bool) {
        let refused = failure.is_refusal();
        let before = self.failing.get(&number);
        let (since, began) = before.map_or_else(
            || (failure.since, Timestamp::now()),
            |before| (before.since, before.began),
        );
        let failing = Failing {
            kind: selection.kind,
            path: selection.path(),
            reason: failure.reason,
            refused,
            stale,
            since,
            began,
        };
        // Thousands of watches may fail for one reason: one log line for each kind.
        if self.similar(failing.kind, refused).next().is_none() {
            let Failing { path, reason, .. } = &failing;
            tracing::warn!(path, reason, "watching the API server failed; keeping what is known");
        }
        self.failing.insert(number, failing);
        self.changed = true;
    }

    pub fn recovered(&mut self, number: u64) {
        let Some(failing) = self.failing.remove(&number) else {
            return;
        };
        self.changed = true;
        if self.similar(failing.kind, failing.refused).next().is_none() {
            tracing::info!(path = failing.path, "watching the API server works again");
        }
    }

    /// The watch was ended on purpose.
    pub fn forget(&mut self, number: u64) {
        self.changed |= self.failing.remove(&number).is_some();
    }

    pub fn invalid(&mut self, id: ObjectId, reason: String) {
        if self.invalid.get(&id) != Some(&reason) {
            tracing::warn!(object = %id, reason, "an object is not valid; its last valid state stays in force");
            self.invalid.insert(id, reason);
            self.changed = true;
        }
    }

    pub fn valid(&mut self, id: &ObjectId) {
        self.changed |= self.invalid.remove(id).is_some();
    }

    pub fn publish(&mut self) {
        if !std::mem::take(&mut self.changed) {
            return;
        }
        let stale = self.failing.values().filter(|failing| failing.stale);
        let since = stale.map(|failing| failing.since).min();
        self.freshness.send_if_modified(|known| {
            let unchanged = match since {
                None => known.current,
                Some(since) => !known.current && known.since == since,
            };
            *known = Freshness {
                current: since.is_none(),
                since: since.unwrap_or_else(|| if unchanged { known.since } else { Instant::now() }),
            };
            !unchanged
        });
        self.problems.send_replace(self.problems());
    }

    /// Failing watches of a kind that are refused, or not.
    fn similar(&self, kind: Kind, refused: bool) -> impl Iterator<Item = &Failing> {
        let failing = self.failing.values();
        failing.filter(move |failing| (failing.kind, failing.refused) == (kind, refused))
    }

    fn problems(&self) -> Vec<Problem> {
        let mut groups: BTreeMap<(Kind, bool), Vec<&Failing>> = BTreeMap::new();
        for failing in self.failing.values() {
            groups.entry((failing.kind, failing.refused)).or_default().push(failing);
        }
        let failing = groups.values().filter_map(|group| problem(group));
        let invalid = self.invalid.iter().map(|(id, reason)| Problem {
            place: id.to_string(),
            reason: reason.clone(),
        });
        failing.chain(invalid).collect()
    }
}

/// One problem for all failing watches of a kind.
fn problem(group: &[&Failing]) -> Option<Problem> {
    let first = group.iter().min_by_key(|failing| failing.since)?;
    let more = match group.len() - 1 {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(Problem {
        place: format!("API server, {}s at {}{more}", first.kind, first.path),
        reason: format!("{}, since {:.0}", first.reason, first.began),
    })
}
