//! Routes, endpoints and owners of hosts, joined: the state of the cluster for a data path and for conditions of objects.
//!
//! [`View::settle`] decides the owners of hosts. It must not be called before the initial state is complete, because only
//! then it is known who claimed a host first.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use keda_http_core::claims::{Claimant, Claims, Lost};
use keda_http_core::route::host::HostPattern;
use keda_http_core::route::shadow::Shadows;
use keda_http_core::route::{Route, ServiceRef};
use keda_http_core::target::TargetKey;

use crate::endpoints::{EndpointIndex, Endpoints, EndpointsError, ServiceKey};
use crate::fields::FieldError;
use crate::hosts::Owners;
use crate::index::Index;
use crate::object::{Kind, Object, ObjectId};
use crate::routes::{RouteChange, RouteIndex};

/// How the owners of hosts are decided.
#[derive(Debug, Clone)]
pub struct HostSettings {
    /// Whether a host belongs to one namespace. If not, all rules of all namespaces compete.
    pub owned: bool,
    /// The DNS domain of Services, such as `cluster.local`.
    pub cluster_domain: String,
}

/// A change that readers of the view must know.
#[derive(Debug, Clone)]
pub enum ViewChange {
    /// A route.
    Route(RouteChange),
    /// The endpoints of a Service.
    Endpoints(ServiceKey),
}

/// Hosts of a route that does not get all requests for them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HostConflicts {
    /// Those that belong to another namespace.
    pub lost: Vec<Lost>,
    /// Those for which another route gets the same requests: the host, and that route.
    pub shadowed: BTreeMap<HostPattern, TargetKey>,
}

/// The joined index.
#[derive(Debug)]
pub struct View {
    settings: HostSettings,
    route_index: RouteIndex,
    endpoint_index: EndpointIndex,
    routes: HashMap<TargetKey, Arc<Route>>,
    claims: Claims,
    shadows: Shadows,
    conflicts: Arc<BTreeMap<TargetKey, HostConflicts>>,
    /// The routes that have changed since [`View::settle`].
    unsettled: BTreeSet<TargetKey>,
}

impl Index for View {
    type Effect = ViewChange;

    fn apply(&mut self, object: &Object) -> Vec<ViewChange> {
        let routes = self.route_index.apply(object);
        let services = self.endpoint_index.apply(object);
        self.join(routes, services)
    }

    fn delete(&mut self, id: &ObjectId) -> Vec<ViewChange> {
        let routes = self.route_index.delete(id);
        let services = self.endpoint_index.delete(id);
        self.join(routes, services)
    }

    fn ids(&self, kind: Kind) -> Vec<ObjectId> {
        let mut ids = self.route_index.ids(kind);
        ids.extend(self.endpoint_index.ids(kind));
        ids
    }
}

impl View {
    /// An empty view.
    pub fn new(settings: HostSettings) -> Self {
        Self {
            shadows: Shadows::new(settings.owned),
            settings,
            route_index: RouteIndex::default(),
            endpoint_index: EndpointIndex::default(),
            routes: HashMap::new(),
            claims: Claims::default(),
            conflicts: Arc::default(),
            unsettled: BTreeSet::new(),
        }
    }

    /// The route of this key.
    pub fn route(&self, key: &TargetKey) -> Option<&Arc<Route>> {
        self.routes.get(key)
    }

    /// The objects that are not valid routes, and why.
    pub fn refused(&self) -> &BTreeMap<ObjectId, Vec<FieldError>> {
        self.route_index.refused()
    }

    /// The endpoints of a service port.
    ///
    /// # Errors
    /// When there is no such Service, or it has no such port.
    pub fn endpoints(&self, service: &ServiceRef) -> Result<Endpoints, EndpointsError> {
        self.endpoint_index.endpoints(service)
    }

    /// Replaces the record of who owns contested hosts.
    pub fn set_record(&mut self, owners: Owners) {
        self.claims.set_record(owners);
    }

    /// The hosts that more than one namespace claims, each with its owner: what the record should be.
    pub fn contested(&self) -> Owners {
        self.claims.contested()
    }

    /// Decides the hosts that have changed since the last call. Returns the routes whose hosts or conflicts have changed.
    pub fn settle(&mut self) -> BTreeSet<TargetKey> {
        let mut concerned = self.claims.settle();
        let mut candidates = std::mem::take(&mut self.unsettled);
        candidates.extend(concerned.iter().cloned());
        candidates.extend(self.shadows.settle());
        for key in candidates {
            if self.update_conflicts(&key) {
                concerned.insert(key);
            }
        }
        concerned
    }

    /// The route with the hosts that it owns.
    pub fn owned<'a>(&self, route: &'a Route) -> Cow<'a, Route> {
        if self.settings.owned {
            self.claims.owned(route)
        } else {
            Cow::Borrowed(route)
        }
    }

    /// The conflicts of all routes that have any.
    pub fn conflicts(&self) -> &Arc<BTreeMap<TargetKey, HostConflicts>> {
        &self.conflicts
    }

    fn join(&mut self, routes: Vec<RouteChange>, services: Vec<ServiceKey>) -> Vec<ViewChange> {
        for change in &routes {
            self.set_route(change);
        }
        let routes = routes.into_iter().map(ViewChange::Route);
        routes.chain(services.into_iter().map(ViewChange::Endpoints)).collect()
    }

    fn set_route(&mut self, change: &RouteChange) {
        let key = match change {
            RouteChange::Set(route) => &route.key,
            RouteChange::Remove(key) => key,
        };
        if let Some(before) = self.routes.remove(key) {
            self.shadows.remove(&before, self.claims.hosts(key));
        }
        if let RouteChange::Set(route) = change {
            self.claims
                .set(key, Claimant::from_route(route, &self.settings.cluster_domain));
            self.shadows.insert(route, self.claims.hosts(key));
            self.routes.insert(key.clone(), route.clone());
        } else {
            self.claims.remove(key);
        }
        self.unsettled.insert(key.clone());
    }

    /// `true` when the conflicts of the route have changed.
    fn update_conflicts(&mut self, key: &TargetKey) -> bool {
        let now = self.conflicts_of(key);
        let none = HostConflicts::default();
        if self.conflicts.get(key).unwrap_or(&none) == &now {
            return false;
        }
        let conflicts = Arc::make_mut(&mut self.conflicts);
        if now == none {
            conflicts.remove(key);
        } else {
            conflicts.insert(key.clone(), now);
        }
        true
    }

    fn conflicts_of(&self, key: &TargetKey) -> HostConflicts {
        let Some(route) = self.routes.get(key) else {
            return HostConflicts::default();
        };
        HostConflicts {
            lost: if self.settings.owned {
                self.claims.lost(key)
            } else {
                Vec::new()
            },
            shadowed: self.shadows.winners(route, self.claims.hosts(key)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;
    use crate::source::Change;

    fn route(namespace: &str, name: &str, created: &str, host: &str, path: &str) -> Object {
        let document = json!({
            "apiVersion": "http.keda.sh/v1beta1", "kind": "InterceptorRoute",
            "metadata": {"name": name, "namespace": namespace, "creationTimestamp": created},
            "spec": {
                "target": {"service": name, "port": 80},
                "rules": [{"hosts": [host], "paths": [{"value": path}]}],
                "scalingMetric": {"concurrency": {"targetValue": 1}},
            },
        });
        Object::parse(&document).unwrap().unwrap()
    }

    fn view(owned: bool) -> View {
        View::new(HostSettings {
            owned,
            cluster_domain: "cluster.local".into(),
        })
    }

    /// The conflicts as `route host winner`.
    fn conflicts(view: &View) -> Vec<String> {
        let mut found = Vec::new();
        for (key, conflicts) in view.conflicts().iter() {
            found.extend(
                conflicts
                    .lost
                    .iter()
                    .map(|lost| format!("{key} {} {}", lost.host, lost.owner)),
            );
            found.extend(conflicts.shadowed.iter().map(|(host, by)| format!("{key} {host} {by}")));
        }
        found
    }

    const EARLY: &str = "2020-01-01T00:00:00Z";
    const LATE: &str = "2020-01-02T00:00:00Z";

    #[test]
    fn fault_c5_a_second_route_for_a_host_of_its_namespace_is_a_conflict_until_one_gives_way() {
        let mut view = view(true);
        view.apply(&route("shop", "a", EARLY, "a.test", "/"));
        view.apply(&route("shop", "b", LATE, "a.test", "/"));
        view.apply(&route("shop", "c", LATE, "a.test", "/c"));
        let concerned = view.settle();
        assert!(concerned.contains(&TargetKey::object("shop", "b")));
        assert_eq!(conflicts(&view), ["shop/b a.test shop/a"]);
        view.apply(&route("shop", "b", LATE, "a.test", "/b"));
        assert_eq!(
            view.settle(),
            BTreeSet::from([TargetKey::object("shop", "b")]),
            "another path"
        );
        assert_eq!(conflicts(&view), [""; 0]);
        view.apply(&route("shop", "b", LATE, "a.test", "/c"));
        view.settle();
        assert_eq!(conflicts(&view), ["shop/b a.test shop/c"]);
        view.delete(&route("shop", "c", LATE, "a.test", "/c").id());
        assert!(
            view.settle().contains(&TargetKey::object("shop", "b")),
            "its conflict is over"
        );
        assert_eq!(conflicts(&view), [""; 0]);
    }

    #[test]
    fn a_host_of_two_namespaces_is_lost_by_one_or_shadowed_where_hosts_are_not_owned() {
        for (owned, expected) in [(true, "b/r a.test a"), (false, "b/r a.test a/r")] {
            let mut view = view(owned);
            let both = vec![
                route("b", "r", LATE, "a.test", "/"),
                route("a", "r", EARLY, "a.test", "/"),
            ];
            view.update(&Change::Reset(Kind::InterceptorRoute, both));
            view.settle();
            assert_eq!(conflicts(&view), [expected]);
        }
    }

    #[test]
    fn a_view_joins_routes_and_endpoints_and_drops_objects_missing_in_a_reset() {
        let mut view = view(true);
        let changes = view.apply(&route("shop", "a", EARLY, "a.test", "/"));
        assert!(
            matches!(&changes[..], [ViewChange::Route(RouteChange::Set(_))]),
            "{changes:?}"
        );
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "a", "namespace": "shop"},
            "spec": {"ports": [{"port": 80}]},
        });
        let changes = view.apply(&Object::parse(&service).unwrap().unwrap());
        assert!(matches!(&changes[..], [ViewChange::Endpoints(_)]), "{changes:?}");
        let upstream = view.route(&TargetKey::object("shop", "a")).unwrap().upstream.clone();
        assert!(view.endpoints(&upstream).is_ok());
        view.update(&Change::Reset(Kind::Service, Vec::new()));
        assert!(view.endpoints(&upstream).is_err());
        view.update(&Change::Reset(Kind::InterceptorRoute, Vec::new()));
        assert!(view.route(&TargetKey::object("shop", "a")).is_none());
    }
}
