//! Which hosts of a route lead to it: those that its namespace has.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use keda_http_core::claims::{Claimant, Claims, Lost};
use keda_http_core::route::Route;
use keda_http_core::target::TargetKey;
use keda_http_kubernetes::hosts;
use keda_http_kubernetes::source::Change;

use crate::config::{HostOwnership, RoutingConfig};
use crate::proxy::routes::LostHosts;
use crate::routing::own_config_map::OwnConfigMap;

/// Who has which host.
pub struct Ownership {
    /// `None`: hosts are nobody's, and all rules compete.
    claims: Option<Claims>,
    cluster_domain: String,
    record: OwnConfigMap,
    lost: LostHosts,
}

impl Ownership {
    /// Nothing is claimed yet. `namespace` is where the scaler writes down who has contested hosts.
    pub fn new(config: &RoutingConfig, namespace: String) -> Self {
        Self {
            claims: match config.host_ownership {
                HostOwnership::Namespace => Some(Claims::default()),
                HostOwnership::None => None,
            },
            cluster_domain: config.cluster_domain.clone(),
            record: OwnConfigMap::new(namespace, hosts::CONFIG_MAP),
            lost: LostHosts::default(),
        }
    }

    /// Whether hosts belong to namespaces at all.
    pub fn is_kept(&self) -> bool {
        self.claims.is_some()
    }

    /// Takes what is written down about hosts in; `true` when that was it.
    pub fn apply(&mut self, change: &Change) -> bool {
        let (Some(claims), Some(config_map)) = (&mut self.claims, self.record.after(change)) else {
            return false;
        };
        let (owners, problems) = config_map.map(hosts::read).unwrap_or_default();
        for problem in problems {
            tracing::warn!("{problem}");
        }
        claims.set_record(owners);
        true
    }

    /// A route is new or has changed.
    pub fn set(&mut self, route: &Route) {
        if let Some(claims) = &mut self.claims {
            claims.set(&route.key, Claimant::of(route, &self.cluster_domain));
        }
    }

    /// A route is gone.
    pub fn remove(&mut self, key: &TargetKey) {
        if let Some(claims) = &mut self.claims {
            claims.remove(key);
        }
    }

    /// Decides, and says which routes have other hosts now. `changed` are those that have changed themselves.
    pub fn settle(&mut self, changed: &BTreeSet<TargetKey>) -> BTreeSet<TargetKey> {
        let Some(claims) = &mut self.claims else {
            return BTreeSet::new();
        };
        let concerned = claims.settle();
        for key in changed.union(&concerned) {
            let lost = claims.lost(key);
            if self.lost.get(key).map(Vec::as_slice).unwrap_or_default() == lost {
                continue;
            }
            tell(key, &lost);
            let all = Arc::make_mut(&mut self.lost);
            if lost.is_empty() {
                all.remove(key);
            } else {
                all.insert(key.clone(), lost);
            }
        }
        concerned
    }

    /// The route with the hosts that lead to it.
    pub fn owned<'a>(&self, route: &'a Route) -> Cow<'a, Route> {
        match &self.claims {
            Some(claims) => claims.owned(route),
            None => Cow::Borrowed(route),
        }
    }

    /// What routes claim and do not have.
    pub fn lost(&self) -> &LostHosts {
        &self.lost
    }

    /// The same for people; names inside the cluster are no mistake, since each Service's traffic finds its own route.
    pub fn problems(&self) -> Vec<String> {
        let problem =
            |key: &TargetKey, lost: &Lost| format!("{key}: host {} belongs to namespace {}", lost.host, lost.owner);
        let mistakes = self.lost.iter().flat_map(|(key, lost)| {
            let mistakes = lost.iter().filter(|lost| !lost.in_cluster);
            mistakes.map(move |lost| problem(key, lost))
        });
        mistakes.collect()
    }
}

fn tell(route: &TargetKey, lost: &[Lost]) {
    if lost.is_empty() {
        tracing::info!(%route, "the route has all its hosts");
    }
    for Lost { host, owner, .. } in lost.iter().filter(|lost| !lost.in_cluster) {
        tracing::warn!(%route, %host, owner, "the host belongs to another namespace; its requests do not come to this route");
    }
}
