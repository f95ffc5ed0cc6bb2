//! Which namespace owns a host that several namespaces claim.
//!
//! A host belongs to one namespace, whatever its paths and headers, and routes of other namespaces get no requests for it.
//! The owner keeps the host as long as one of its routes claims it. A host without an owner (at the start, and when the
//! owner's last claim is gone) goes to the oldest claim: by the creation of the route's object, then by the name of the
//! namespace. A record of former decisions takes precedence over both, so that all programs agree across restarts.
//!
//! Patterns are owned as they are written: `*.example.com`, `a.example.com` and `*` (also of a rule without hosts) are
//! three hosts. As in every route table of Kubernetes the more specific pattern wins, so the owner of `*.example.com` owns
//! the names below it that no pattern names more specifically.
//!
//! Apply changes with [`Claims::set`], [`Claims::remove`] and [`Claims::set_record`]; [`Claims::settle`] then decides the
//! hosts that they affect, and only these. It must not be called before the initial state is complete.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::route::host::HostPattern;
use crate::route::{Route, Rule, ServiceRef};
use crate::target::TargetKey;

/// The hosts that a route claims.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Claimant {
    created: i64,
    /// Each host once.
    claims: Box<[Claim]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Claim {
    host: HostPattern,
    in_cluster: bool,
}

/// A host that a route claims and another namespace owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// The claimed host.
    pub host: HostPattern,
    /// The namespace that owns it.
    pub owner: String,
    /// Whether it is only the in-cluster name of an autowired Service. Services of several namespaces may have the same
    /// name, so losing it is not a mistake.
    pub in_cluster: bool,
}

/// All claims, and the owners of hosts.
#[derive(Debug, Default)]
pub struct Claims {
    claimants: HashMap<TargetKey, Claimant>,
    hosts: HashMap<HostPattern, Host>,
    record: BTreeMap<HostPattern, String>,
    unsettled: HashSet<HostPattern>,
}

#[derive(Debug, Default)]
struct Host {
    owner: Option<Box<str>>,
    /// With the creation of each route's object; sorted by namespace and name.
    claims: Vec<(TargetKey, i64)>,
}

impl Claimant {
    /// The claims of a route. `cluster_domain` is the DNS domain of Services, such as `cluster.local`.
    pub fn from_route(route: &Route, cluster_domain: &str) -> Self {
        let hosts: BTreeSet<&HostPattern> = route.rules.iter().flat_map(patterns).collect();
        let in_cluster = |host: &HostPattern| {
            let service = route.autowired.as_ref();
            service.is_some_and(|service| is_in_cluster(host, service, cluster_domain))
        };
        let claim = |host: &HostPattern| Claim {
            host: host.clone(),
            in_cluster: in_cluster(host),
        };
        Self {
            created: route.created,
            claims: hosts.into_iter().map(claim).collect(),
        }
    }
}

/// A rule without hosts takes every host.
fn patterns(rule: &Rule) -> &[HostPattern] {
    const EVERY: [HostPattern; 1] = [HostPattern::Any];
    if rule.hosts.is_empty() { &EVERY } else { &rule.hosts }
}

/// Whether the host is a name of this Service inside the cluster: a bare name, or `service.namespace` with or without
/// `.svc` and the cluster's domain. Two labels may also be a public name, so there the first must be the Service's.
fn is_in_cluster(host: &HostPattern, service: &ServiceRef, cluster_domain: &str) -> bool {
    let HostPattern::Exact(host) = host else { return false };
    let Some((name, rest)) = host.split_once('.') else {
        return true;
    };
    let Some(rest) = rest.strip_prefix(service.namespace.as_str()) else {
        return false;
    };
    match rest.strip_prefix(".svc") {
        Some(domain) => domain.is_empty() || domain.strip_prefix('.') == Some(cluster_domain),
        None => rest.is_empty() && name == service.service,
    }
}

impl Claims {
    /// Adds or replaces the claims of a route.
    pub fn set(&mut self, key: &TargetKey, claimant: Claimant) {
        if self.claimants.get(key) == Some(&claimant) {
            return;
        }
        self.remove(key);
        for claim in &claimant.claims {
            let host = self.hosts.entry(claim.host.clone()).or_default();
            if let Err(at) = host.position(key) {
                host.claims.reserve_exact(1); // most hosts have one claim, and there can be very many hosts
                host.claims.insert(at, (key.clone(), claimant.created));
            }
            self.unsettled.insert(claim.host.clone());
        }
        self.claimants.insert(key.clone(), claimant);
    }

    /// Removes the claims of a route.
    pub fn remove(&mut self, key: &TargetKey) {
        let Some(claimant) = self.claimants.remove(key) else {
            return;
        };
        for claim in claimant.claims {
            if let Some(host) = self.hosts.get_mut(&claim.host)
                && let Ok(at) = host.position(key)
            {
                host.claims.remove(at);
            }
            self.unsettled.insert(claim.host);
        }
    }

    /// Replaces the record of who owns which contested host.
    pub fn set_record(&mut self, record: BTreeMap<HostPattern, String>) {
        let differs = |host: &&HostPattern| self.record.get(*host) != record.get(*host);
        let changed: HashSet<HostPattern> = self
            .record
            .keys()
            .chain(record.keys())
            .filter(differs)
            .cloned()
            .collect();
        self.unsettled
            .extend(changed.into_iter().filter(|host| self.hosts.contains_key(host)));
        self.record = record;
    }

    /// Decides every host that changed since the last call. Returns the routes that claim a host whose owner changed.
    pub fn settle(&mut self) -> BTreeSet<TargetKey> {
        let mut concerned = BTreeSet::new();
        for name in std::mem::take(&mut self.unsettled) {
            let Some(host) = self.hosts.get_mut(&name) else {
                continue;
            };
            let owner = host.choose(self.record.get(&name));
            if host.owner != owner {
                host.owner = owner;
                concerned.extend(host.claims.iter().map(|(key, _)| key.clone()));
            }
            if host.claims.is_empty() {
                self.hosts.remove(&name);
            }
        }
        concerned
    }

    /// The namespace that owns a host.
    pub fn owner(&self, host: &HostPattern) -> Option<&str> {
        self.hosts.get(host)?.owner.as_deref()
    }

    /// The hosts that the route claims, without those that are only names inside the cluster.
    pub fn hosts(&self, key: &TargetKey) -> impl Iterator<Item = &HostPattern> {
        let claims = self.claims_of(key).iter();
        claims.filter(|claim| !claim.in_cluster).map(|claim| &claim.host)
    }

    fn claims_of(&self, key: &TargetKey) -> &[Claim] {
        self.claimants
            .get(key)
            .map(|claimant| &*claimant.claims)
            .unwrap_or_default()
    }

    /// The hosts that the route claims and another namespace owns.
    pub fn lost(&self, key: &TargetKey) -> Vec<Lost> {
        let lost = |claim: &Claim| {
            let owner = self.owner(&claim.host).filter(|owner| *owner != key.namespace())?;
            Some(Lost {
                host: claim.host.clone(),
                owner: owner.to_owned(),
                in_cluster: claim.in_cluster,
            })
        };
        self.claims_of(key).iter().filter_map(lost).collect()
    }

    /// The route with the hosts that its namespace owns. A rule without such hosts is left out.
    pub fn owned<'a>(&self, route: &'a Route) -> Cow<'a, Route> {
        let namespace = route.key.namespace();
        let has = |host: &HostPattern| self.owner(host) == Some(namespace);
        if route.rules.iter().flat_map(patterns).all(has) {
            return Cow::Borrowed(route);
        }
        let mut owned = route.clone();
        owned.rules.retain_mut(|rule| {
            if rule.hosts.is_empty() {
                return has(&HostPattern::Any);
            }
            rule.hosts.retain(has);
            !rule.hosts.is_empty()
        });
        Cow::Owned(owned)
    }

    /// The hosts that more than one namespace claims, each with its owner: what the record should be.
    pub fn contested(&self) -> BTreeMap<HostPattern, String> {
        let contested = self.hosts.iter().filter(|(_, host)| host.is_contested());
        contested
            .filter_map(|(name, host)| Some((name.clone(), host.owner.as_deref()?.to_owned())))
            .collect()
    }
}

impl Host {
    fn position(&self, key: &TargetKey) -> Result<usize, usize> {
        let own = (key.namespace(), key.name());
        self.claims
            .binary_search_by(|(other, _)| (other.namespace(), other.name()).cmp(&own))
    }

    fn choose(&self, recorded: Option<&String>) -> Option<Box<str>> {
        let claims = |namespace: &&str| {
            let at = self.claims.partition_point(|(key, _)| key.namespace() < *namespace);
            self.claims
                .get(at)
                .is_some_and(|(key, _)| key.namespace() == *namespace)
        };
        let recorded = recorded.map(String::as_str).filter(claims);
        let present = self.owner.as_deref().filter(claims);
        let oldest = || {
            let by_age = self.claims.iter().map(|(key, created)| (*created, key.namespace()));
            by_age.min().map(|(_, namespace)| namespace)
        };
        recorded.or(present).or_else(oldest).map(Into::into)
    }

    fn is_contested(&self) -> bool {
        let ends = self.claims.first().zip(self.claims.last());
        ends.is_some_and(|((first, _), (last, _))| first.namespace() != last.namespace())
    }
}

#[cfg(test)]
mod tests;
