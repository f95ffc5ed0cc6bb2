//! Routes of autowired Services, found by the Service that received the traffic, whichever route owns the host.

use std::fmt;
use std::sync::Arc;

use http::HeaderMap;

use super::host::{self, HostPattern};
use super::{Route, RouteTable, Rule, ServiceRef};
use crate::target::TargetKey;

/// A Service port that has a listener of its own. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    service: Arc<ServiceRef>,
    /// The Service port as the suffix of a host; none of its parts can contain a dot.
    label: Arc<str>,
}

impl Scope {
    /// The scope of a Service port.
    pub fn new(service: Arc<ServiceRef>) -> Self {
        let ServiceRef {
            namespace,
            service: name,
            port,
        } = &*service;
        Self {
            label: format!("{port}.{name}.{namespace}.autowired").into(),
            service,
        }
    }

    /// The Service port.
    pub fn service(&self) -> &ServiceRef {
        &self.service
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label)
    }
}

/// The routes of autowired Services, each below its Service port. A clone shares what did not change, as with
/// [`RouteTable`].
#[derive(Debug, Clone)]
pub struct ScopedTable<T: Clone>(RouteTable<T>);

impl<T: Clone> Default for ScopedTable<T> {
    fn default() -> Self {
        Self(RouteTable::new())
    }
}

impl<T: Clone> ScopedTable<T> {
    /// Adds the route, or replaces the one of the same key; one that is not autowired is only removed.
    pub fn insert(&mut self, route: &Route, value: T) {
        let Some(service) = &route.autowired else {
            self.remove(&route.key);
            return;
        };
        let scope = Scope::new(service.clone());
        let rules = route.rules.iter().flat_map(|rule| scoped(rule, &scope.label)).collect();
        self.0.insert(&Route { rules, ..route.clone() }, value);
    }

    /// Removes a route.
    pub fn remove(&mut self, key: &TargetKey) {
        self.0.remove(key);
    }

    /// The route of a request to the Service: by its rules, or by paths and headers alone when no rule has the host, since
    /// a plain Service ignores hosts.
    pub fn find(&self, scope: &Scope, host: &str, path: &str, headers: &HeaderMap) -> Option<&T> {
        let mut lowered = [0; host::MAX_LENGTH];
        let host = host::normalize(host, &mut lowered).unwrap_or_default();
        let by_host = format!("{host}.{}", scope.label);
        self.0
            .find(&by_host, path, headers)
            .or_else(|| self.0.find(&scope.label, path, headers))
    }
}

/// A rule with its hosts below the scope, and once without hosts.
fn scoped(rule: &Rule, label: &str) -> [Rule; 2] {
    let below = |host: &HostPattern| match host {
        HostPattern::Any => HostPattern::Suffix(label.into()),
        HostPattern::Suffix(suffix) => HostPattern::Suffix(format!("{suffix}.{label}").into()),
        HostPattern::Exact(host) => HostPattern::Exact(format!("{host}.{label}").into()),
    };
    let hosts: Vec<HostPattern> = match rule.hosts.as_slice() {
        [] => vec![below(&HostPattern::Any)],
        hosts => hosts.iter().map(below).collect(),
    };
    let with = |hosts| Rule { hosts, ..rule.clone() };
    [with(hosts), with(vec![HostPattern::Exact(label.into())])]
}

#[cfg(test)]
mod tests;
