//! Which namespace has a host, where several claim it.
//!
//! A host belongs to one namespace, whatever its paths and headers, and routes of other namespaces get no requests for it. Who
//! has it keeps it as long as one of its routes claims it. Where nobody has it yet (at the start, and when the one who had
//! it goes) the oldest claim wins: by the creation of the route's object, then by the name of the namespace. A record of
//! former decisions goes before both, so that all programs agree over restarts.
//!
//! What is owned is the pattern as it is written: `*.example.com`, `a.example.com` and `*` (also of a rule without hosts) are
//! three hosts. As in every route table of Kubernetes the more exact pattern goes first, so whoever owns `*.example.com` owns
//! what nobody names more exactly.
//!
//! A fold: take changes in with [`Claims::set`], [`Claims::remove`] and [`Claims::set_record`], then [`Claims::settle`]
//! decides about the hosts they touched, and only these. Before the first state is complete nothing is to be settled.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::route::host::HostPattern;
use crate::route::{Route, Rule, ServiceRef};
use crate::target::TargetKey;

/// What a route claims.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Claimant {
    created: i64,
    /// Each host once.
    claims: Box<[Claim]>,
}

/// One host of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Claim {
    host: HostPattern,
    in_cluster: bool,
}

/// A host that a route claims and another namespace has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// The host.
    pub host: HostPattern,
    /// The namespace that has it.
    pub owner: String,
    /// Whether it is only a name inside the cluster of a Service whose traffic is led to the route by itself. Services of
    /// several namespaces may have the same such name, so losing it is no mistake.
    pub in_cluster: bool,
}

/// All claims, and who has what.
#[derive(Debug, Default)]
pub struct Claims {
    claimants: HashMap<TargetKey, Claimant>,
    hosts: HashMap<HostPattern, Host>,
    record: BTreeMap<HostPattern, String>,
    unsettled: HashSet<HostPattern>,
}

/// Who claims a host, and who has it.
#[derive(Debug, Default)]
struct Host {
    owner: Option<Box<str>>,
    /// With the creation of each route's object; sorted by namespace and name.
    claims: Vec<(TargetKey, i64)>,
}

impl Claimant {
    /// What the route claims. `cluster_domain` is the DNS domain of Services, such as `cluster.local`.
    pub fn of(route: &Route, cluster_domain: &str) -> Self {
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

/// Whether callers inside the cluster mean this Service by the host: a bare name, or `service.namespace` with or without
/// `.svc` and the cluster's domain. Two labels alone may also be a name of the world, so there the first must be the Service's.
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
    /// The route is new or has changed.
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

    /// The route is gone.
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

    /// Who has which contested host, as it was written down.
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

    /// Decides about every host that was touched since the last time, and says which routes have won or lost one by that.
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

    /// The namespace that has a host.
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

    /// The hosts that the route claims and does not have.
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

    /// The route with the hosts that it has. A rule that has none is left out.
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

    /// The hosts that more than one namespace claims, and who has them: what is to be written down.
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
