//! Routes that ask for the same requests: one of them gets all, and the others none.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::host::HostPattern;
use super::path::PathMatch;
use super::{Route, Rule, Seniority};
use crate::target::TargetKey;

/// Which of the routes with equal conditions gets the requests. A change costs what the changed routes ask for, however
/// many other routes there are.
#[derive(Debug)]
pub struct Shadows {
    owned: bool,
    contests: HashMap<Condition, Contest>,
    /// The conditions that have changed since [`Shadows::settle`], each with the route that won it then.
    unsettled: HashMap<Condition, Option<TargetKey>>,
}

/// Requests that a route asks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Condition {
    host: HostPattern,
    /// Path, headers and, where hosts are owned, the namespace: equal texts take the same requests.
    rest: Box<str>,
}

/// The routes that ask for the same requests. Most are alone.
#[derive(Debug)]
struct Contest {
    winner: Seniority,
    others: BTreeSet<Seniority>,
}

impl Shadows {
    /// `owned`: only routes of one namespace compete, because a host belongs to one namespace.
    pub fn new(owned: bool) -> Self {
        Self {
            owned,
            contests: HashMap::new(),
            unsettled: HashMap::new(),
        }
    }

    /// Adds a route, with those of its hosts that it competes for.
    pub fn insert<'a>(&mut self, route: &Route, hosts: impl Iterator<Item = &'a HostPattern>) {
        for condition in self.conditions(route, hosts) {
            self.note(&condition);
            match self.contests.entry(condition) {
                Entry::Vacant(entry) => {
                    entry.insert(Contest {
                        winner: Seniority::from_route(route),
                        others: BTreeSet::new(),
                    });
                }
                Entry::Occupied(mut entry) => entry.get_mut().insert(Seniority::from_route(route)),
            }
        }
    }

    /// Removes a route that was inserted with these hosts.
    pub fn remove<'a>(&mut self, route: &Route, hosts: impl Iterator<Item = &'a HostPattern>) {
        let seniority = Seniority::from_route(route);
        for condition in self.conditions(route, hosts) {
            self.note(&condition);
            if let Entry::Occupied(mut entry) = self.contests.entry(condition)
                && !entry.get_mut().remove(&seniority)
            {
                entry.remove();
            }
        }
    }

    /// The routes, besides those inserted or removed since the last call, that now lose to another route than before, or
    /// to none.
    pub fn settle(&mut self) -> BTreeSet<TargetKey> {
        let mut touched = BTreeSet::new();
        for (condition, before) in std::mem::take(&mut self.unsettled) {
            if let Some(contest) = self.contests.get(&condition)
                && Some(&contest.winner.key) != before.as_ref()
            {
                touched.insert(contest.winner.key.clone());
                touched.extend(contest.others.iter().map(|other| other.key.clone()));
            }
        }
        touched
    }

    /// The hosts at which the route does not get all requests that it asks for, each with a route that gets them.
    pub fn winners<'a>(
        &self,
        route: &Route,
        hosts: impl Iterator<Item = &'a HostPattern>,
    ) -> BTreeMap<HostPattern, TargetKey> {
        let mut winners = BTreeMap::new();
        for condition in self.conditions(route, hosts) {
            let winner = self.contests.get(&condition).map(|contest| &contest.winner.key);
            if let Some(winner) = winner.filter(|winner| **winner != route.key) {
                winners.entry(condition.host).or_insert_with(|| winner.clone());
            }
        }
        winners
    }

    fn note(&mut self, condition: &Condition) {
        if !self.unsettled.contains_key(condition) {
            let winner = self.contests.get(condition).map(|contest| contest.winner.key.clone());
            self.unsettled.insert(condition.clone(), winner);
        }
    }

    fn conditions<'a>(&self, route: &Route, hosts: impl Iterator<Item = &'a HostPattern>) -> BTreeSet<Condition> {
        let namespace = if self.owned { route.key.namespace() } else { "" };
        let at_host = |host: &'a HostPattern| {
            let texts = route.rules.iter().filter(|rule| asks_for(rule, host)).flat_map(texts);
            texts.map(|text| Condition {
                host: host.clone(),
                rest: format!("{namespace} {text}").into(),
            })
        };
        hosts.flat_map(at_host).collect()
    }
}

impl Contest {
    fn insert(&mut self, seniority: Seniority) {
        let other = if seniority < self.winner {
            std::mem::replace(&mut self.winner, seniority)
        } else {
            seniority
        };
        self.others.insert(other);
    }

    /// `false` when no route is left.
    fn remove(&mut self, seniority: &Seniority) -> bool {
        if self.winner != *seniority {
            self.others.remove(seniority);
            return true;
        }
        let next = self.others.pop_first();
        next.map(|next| self.winner = next).is_some()
    }
}

/// A rule without hosts asks for every host.
fn asks_for(rule: &Rule, host: &HostPattern) -> bool {
    match host {
        HostPattern::Any if rule.hosts.is_empty() => true,
        host => rule.hosts.contains(host),
    }
}

/// The paths of a rule, each with the headers, as texts that are equal when they take the same requests.
fn texts(rule: &Rule) -> Vec<String> {
    let headers: BTreeSet<String> = rule.headers.iter().map(|header| format!("{header:?}")).collect();
    let every = [PathMatch::prefix("")];
    let paths = if rule.paths.is_empty() { &every[..] } else { &rule.paths };
    paths.iter().map(|path| format!("{path:?} {headers:?}")).collect()
}

#[cfg(test)]
mod tests;
