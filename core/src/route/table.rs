//! The table that finds the route of a request.
//!
//! Hosts are hashed and the paths of a host sorted, so a lookup among ten thousand routes costs about as much as among
//! ten. The table is split into shards behind `Arc`s: a clone copies pointers, and a change copies one shard.

mod shards;

use std::cmp::Reverse;
use std::sync::Arc;

use http::HeaderMap;
use regex::Regex;

use super::header::{HeaderRule, HeaderValueMatch};
use super::host::{self, HostPattern};
use super::path::{self, PathMatch};
use super::{Route, Rule, Seniority};
use crate::target::TargetKey;
use shards::Shards;

/// All routes, each with data `T` of the caller. A clone shares everything with its original, and a change of one route
/// copies only the part of the table that contains it.
#[derive(Debug, Clone)]
pub struct RouteTable<T> {
    exact: Shards<Arc<HostRoutes<T>>>,
    /// By what follows `*.`.
    suffix: Shards<Arc<HostRoutes<T>>>,
    any: Arc<HostRoutes<T>>,
    /// The hosts of each route, by its key.
    placed: Shards<Arc<Placed<T>>>,
    len: usize,
    /// See [`RouteTable::of_owned_hosts`].
    owned: bool,
}

#[derive(Debug)]
struct Placed<T> {
    hosts: Box<[HostPattern]>,
    value: T,
}

/// The routes of one host pattern.
#[derive(Debug, Clone)]
struct HostRoutes<T> {
    /// Sorted by prefix, without leading and trailing slashes; each list in order of precedence. Most hosts have one
    /// entry, for which a map would take three times the memory.
    prefixes: Vec<(Box<str>, Vec<Candidate<T>>)>,
    /// Length of the longest prefix, so that longer parts of a path are not looked up.
    longest: usize,
    /// In order of precedence.
    regexes: Vec<(Regex, Candidate<T>)>,
}

/// A rule of a route at one host and path.
#[derive(Debug, Clone)]
struct Candidate<T> {
    precedence: Precedence,
    /// `None`: no conditions, as in most rules.
    headers: Option<Arc<[HeaderRule]>>,
    value: T,
}

/// Which of several matching rules wins: the smallest. More headers, more headers with values, then the older route.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Precedence {
    headers: Reverse<usize>,
    values: Reverse<usize>,
    route: Seniority,
}

impl<T> Default for HostRoutes<T> {
    fn default() -> Self {
        Self {
            prefixes: Vec::new(),
            longest: 0,
            regexes: Vec::new(),
        }
    }
}

impl<T: Clone> Default for RouteTable<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Clone> RouteTable<T> {
    /// An empty table.
    pub fn new() -> Self {
        Self {
            exact: Shards::new(),
            suffix: Shards::new(),
            any: Arc::default(),
            placed: Shards::new(),
            len: 0,
            owned: false,
        }
    }

    /// An empty table for hosts that belong to namespaces: the routes of each pattern are of one namespace, and a host of
    /// one pattern never falls back to wider patterns of other namespaces, not even for paths without a route.
    pub fn of_owned_hosts() -> Self {
        Self {
            owned: true,
            ..Self::new()
        }
    }

    /// Adds the route, or replaces the one of the same key.
    pub fn insert(&mut self, route: &Route, value: T) {
        self.remove(&route.key);
        let mut hosts = Vec::new();
        for rule in &route.rules {
            let candidate = Candidate {
                precedence: Precedence::from_rule(route, rule),
                headers: (!rule.headers.is_empty()).then(|| rule.headers.clone().into()),
                value: value.clone(),
            };
            let every = [HostPattern::Any];
            let patterns = if rule.hosts.is_empty() { &every[..] } else { &rule.hosts };
            for host in patterns {
                self.at(host).add(&rule.paths, &candidate);
                hosts.push(host.clone());
            }
        }
        let hosts = hosts.into_boxed_slice();
        self.placed
            .insert(route.key.as_str(), Arc::new(Placed { hosts, value }));
        self.len += 1;
    }

    /// Removes a route; `false` when there is none of that key.
    pub fn remove(&mut self, key: &TargetKey) -> bool {
        let Some(placed) = self.placed.remove(key.as_str()) else {
            return false;
        };
        for host in &placed.hosts {
            self.at(host).remove(key);
            self.drop_empty(host);
        }
        self.len -= 1;
        true
    }

    /// The number of routes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no routes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The data of every route, in no order.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.placed.values().map(|placed| &placed.value)
    }

    /// The route of a request. `host` is the Host header as received, `path` the request path without the query, as
    /// received (percent-encoded). Allocates nothing for ordinary requests.
    pub fn find(&self, host: &str, path: &str, headers: &HeaderMap) -> Option<&T> {
        let mut lowered = [0; host::MAX_LENGTH];
        let host = host::normalize(host, &mut lowered).unwrap_or_default();
        let path = path::decode(path);
        let mut owner = None;
        for routes in self.matching(host) {
            let namespace = self.owned.then(|| routes.namespace()).flatten();
            if owner.is_some() && namespace != owner {
                continue;
            }
            if let Some(found) = routes.find(&path, headers) {
                return Some(found);
            }
            owner = owner.or(namespace);
        }
        None
    }

    /// The routes of the patterns that match the host, from the most to the least specific pattern.
    fn matching<'a, 'h>(&'a self, host: &'h str) -> impl Iterator<Item = &'a HostRoutes<T>> + use<'a, 'h, T> {
        let after_dot = |name: &'h str| name.split_once('.').map(|(_, suffix)| suffix);
        // An empty first label does not make a subdomain.
        let labels = host.strip_prefix('.').unwrap_or(host);
        let wildcards =
            (!self.suffix.is_empty()).then(|| std::iter::successors(after_dot(labels), move |name| after_dot(name)));
        let wildcards = wildcards
            .into_iter()
            .flatten()
            .filter_map(|suffix| self.suffix.get(suffix));
        let named = self.exact.get(host).into_iter().chain(wildcards);
        named.chain([&self.any]).map(|routes| &**routes)
    }

    fn at(&mut self, host: &HostPattern) -> &mut HostRoutes<T> {
        let routes = match host {
            HostPattern::Any => &mut self.any,
            HostPattern::Suffix(suffix) => self.suffix.entry(suffix),
            HostPattern::Exact(host) => self.exact.entry(host),
        };
        Arc::make_mut(routes)
    }

    fn drop_empty(&mut self, host: &HostPattern) {
        let (shards, name) = match host {
            HostPattern::Any => return,
            HostPattern::Suffix(suffix) => (&mut self.suffix, suffix),
            HostPattern::Exact(host) => (&mut self.exact, host),
        };
        if shards.get(name).is_some_and(|routes| routes.is_empty()) {
            shards.remove(name);
        }
    }
}

impl Precedence {
    fn from_rule(route: &Route, rule: &Rule) -> Self {
        let presence = |header: &&HeaderRule| matches!(header.value, HeaderValueMatch::Present);
        Self {
            headers: Reverse(rule.headers.len()),
            values: Reverse(rule.headers.len() - rule.headers.iter().filter(presence).count()),
            route: Seniority::from_route(route),
        }
    }
}

impl<T: Clone> HostRoutes<T> {
    fn add(&mut self, paths: &[PathMatch], candidate: &Candidate<T>) {
        if paths.is_empty() {
            self.add_prefix("", candidate.clone());
        }
        for path in paths {
            match path {
                PathMatch::Prefix(prefix) => self.add_prefix(prefix, candidate.clone()),
                PathMatch::Regex(regex) => {
                    let at = self
                        .regexes
                        .partition_point(|(_, other)| other.precedence < candidate.precedence);
                    self.regexes.insert(at, (regex.clone(), candidate.clone()));
                }
            }
        }
    }

    fn add_prefix(&mut self, prefix: &str, candidate: Candidate<T>) {
        self.longest = self.longest.max(prefix.len());
        match self.position(prefix) {
            Ok(found) => {
                let candidates = &mut self.prefixes[found].1;
                let at = candidates.partition_point(|other| other.precedence < candidate.precedence);
                candidates.reserve_exact(1);
                candidates.insert(at, candidate);
            }
            Err(at) => {
                self.prefixes.reserve_exact(1);
                self.prefixes.insert(at, (prefix.into(), vec![candidate]));
            }
        }
    }

    fn position(&self, prefix: &str) -> Result<usize, usize> {
        self.prefixes.binary_search_by(|(other, _)| (**other).cmp(prefix))
    }

    fn remove(&mut self, key: &TargetKey) {
        self.prefixes.retain_mut(|(_, candidates)| {
            candidates.retain(|candidate| candidate.precedence.route.key != *key);
            !candidates.is_empty()
        });
        self.longest = self
            .prefixes
            .iter()
            .map(|(prefix, _)| prefix.len())
            .max()
            .unwrap_or_default();
        self.regexes
            .retain(|(_, candidate)| candidate.precedence.route.key != *key);
    }

    fn is_empty(&self) -> bool {
        self.prefixes.is_empty() && self.regexes.is_empty()
    }

    /// The namespace of the first route; with owned hosts, of all of them.
    fn namespace(&self) -> Option<&str> {
        let by_prefix = self.prefixes.iter().flat_map(|(_, candidates)| candidates);
        let mut all = by_prefix.chain(self.regexes.iter().map(|(_, candidate)| candidate));
        all.next().map(|candidate| candidate.precedence.route.key.namespace())
    }

    /// The longest prefix whose headers match; regular expressions come before the empty prefix.
    fn find(&self, path: &str, headers: &HeaderMap) -> Option<&T> {
        let mut prefix = path.trim_matches('/');
        while !prefix.is_empty() {
            if let Some(found) = self.at_prefix(prefix, headers) {
                return Some(found);
            }
            prefix = prefix
                .rsplit_once('/')
                .map_or("", |(shorter, _)| shorter.trim_end_matches('/'));
        }
        let by_regex = self
            .regexes
            .iter()
            .find(|(regex, candidate)| regex.is_match(path) && candidate.takes(headers));
        by_regex
            .map(|(_, candidate)| &candidate.value)
            .or_else(|| self.at_prefix("", headers))
    }

    fn at_prefix(&self, prefix: &str, headers: &HeaderMap) -> Option<&T> {
        if prefix.len() > self.longest {
            return None;
        }
        let (_, candidates) = &self.prefixes[self.position(prefix).ok()?];
        candidates
            .iter()
            .find(|candidate| candidate.takes(headers))
            .map(|candidate| &candidate.value)
    }
}

impl<T> Candidate<T> {
    fn takes(&self, headers: &HeaderMap) -> bool {
        let rules = self.headers.as_deref().unwrap_or_default();
        rules.iter().all(|rule| rule.matches(headers))
    }
}

#[cfg(test)]
mod tests;
