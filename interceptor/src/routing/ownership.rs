//! The owners of hosts that several routes claim, and the reports of conflicts.

use std::collections::{BTreeMap, BTreeSet};

use keda_http_core::claims::Lost;
use keda_http_core::target::TargetKey;
use keda_http_kubernetes::hosts::{self, Owners};
use keda_http_kubernetes::source::Change;
use keda_http_kubernetes::view::{HostConflicts, HostSettings};

use crate::config::{HostOwnership, RoutingConfig};
use crate::routing::own_config_map::OwnConfigMap;

/// The settings of ownership, and the ConfigMap in which the scaler's leader records the owners of contested hosts.
pub struct Ownership {
    pub settings: HostSettings,
    record: OwnConfigMap,
}

impl Ownership {
    /// `namespace` is that of the ConfigMap.
    pub fn new(config: &RoutingConfig, namespace: String) -> Self {
        Self {
            settings: HostSettings {
                owned: config.host_ownership == HostOwnership::Namespace,
                cluster_domain: config.cluster_domain.clone(),
            },
            record: OwnConfigMap::new(namespace, hosts::CONFIG_MAP),
        }
    }

    /// The owners after a change of the ConfigMap; `None` when the change is about another object.
    pub fn recorded(&self, change: &Change) -> Option<Owners> {
        let config_map = self.record.after(change).filter(|_| self.settings.owned)?;
        let (owners, problems) = config_map.map(hosts::read).unwrap_or_default();
        for problem in problems {
            tracing::warn!("{problem}");
        }
        Some(owners)
    }
}

/// All conflicts, one text for each host. Names inside the cluster are left out, since the traffic of each Service
/// finds its own route.
pub fn problems(conflicts: &BTreeMap<TargetKey, HostConflicts>) -> Vec<String> {
    let each = conflicts.iter().flat_map(|(key, conflicts)| {
        let problems = texts(conflicts).into_iter();
        problems.map(move |problem| format!("{key}: {problem}"))
    });
    each.collect()
}

/// Logs the conflicts of routes that have changed.
pub fn log_changes(
    routes: &BTreeSet<TargetKey>,
    before: &BTreeMap<TargetKey, HostConflicts>,
    now: &BTreeMap<TargetKey, HostConflicts>,
) {
    for route in routes.iter().filter(|route| before.get(*route) != now.get(*route)) {
        match now.get(route) {
            Some(conflicts) => {
                for conflict in texts(conflicts) {
                    tracing::warn!(%route, "{conflict}; requests for it do not reach this route");
                }
            }
            None => tracing::info!(%route, "the route has all its hosts"),
        }
    }
}

fn texts(conflicts: &HostConflicts) -> Vec<String> {
    let lost = conflicts.lost.iter().filter(|lost| !lost.in_cluster);
    let lost = lost.map(|Lost { host, owner, .. }| format!("host {host} belongs to namespace {owner}"));
    let shadowed = conflicts.shadowed.iter();
    let shadowed = shadowed
        .map(|(host, by)| format!("host {host} is routed to {by}, which has the same rule and takes precedence"));
    lost.chain(shadowed).collect()
}
