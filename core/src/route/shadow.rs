//! Routes that take the same requests of a host: one of them gets all, and the others none.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::host::HostPattern;
use super::{Route, Rule};
use crate::target::TargetKey;

/// The routes that do not get some of the requests that they ask for at `host`, because another of `routes` asks for the same
/// path with the same headers and goes before them; each with that other route.
pub fn shadowed<'a>(
    host: &HostPattern,
    routes: impl Iterator<Item = &'a Route> + Clone,
) -> BTreeMap<TargetKey, TargetKey> {
    let mut first: HashMap<String, &Route> = HashMap::new();
    for route in routes.clone() {
        for condition in conditions(host, route) {
            let winner = first.entry(condition).or_insert(route);
            if route.goes_before(winner) {
                *winner = route;
            }
        }
    }
    let mut shadowed = BTreeMap::new();
    for route in routes {
        let mut winners = conditions(host, route)
            .into_iter()
            .filter_map(|condition| first.get(&condition));
        if let Some(winner) = winners.find(|winner| winner.key != route.key) {
            shadowed.insert(route.key.clone(), winner.key.clone());
        }
    }
    shadowed
}

/// The paths and headers that the route asks for at the host, as texts that are equal when they take the same requests.
fn conditions(host: &HostPattern, route: &Route) -> BTreeSet<String> {
    let names_host = |rule: &&Rule| match host {
        HostPattern::Any if rule.hosts.is_empty() => true,
        host => rule.hosts.contains(host),
    };
    let of_rule = |rule: &Rule| {
        let headers: BTreeSet<String> = rule.headers.iter().map(|header| format!("{header:?}")).collect();
        let paths: Vec<String> = match rule.paths.as_slice() {
            [] => vec![format!("{:?}", super::path::PathMatch::prefix(""))],
            paths => paths.iter().map(|path| format!("{path:?}")).collect(),
        };
        paths.into_iter().map(move |path| format!("{path} {headers:?}"))
    };
    route.rules.iter().filter(names_host).flat_map(of_rule).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use http::HeaderMap;

    use super::super::header::{HeaderRule, HeaderValueMatch};
    use super::super::path::PathMatch;
    use super::super::{PortRef, RouteTable, ServiceRef, Timeouts};
    use super::*;

    fn route(name: &str, created: i64, host: &str, paths: &[&str], header: Option<&str>) -> Route {
        let header = header.map(|value| HeaderRule {
            name: http::header::ACCEPT,
            value: HeaderValueMatch::Exact(value.into()),
        });
        Route {
            key: TargetKey::object("shop", name),
            created,
            rules: vec![Rule {
                hosts: vec![host.parse().unwrap()],
                paths: paths.iter().map(|path| PathMatch::prefix(path)).collect(),
                headers: header.into_iter().collect(),
            }],
            upstream: std::sync::Arc::new(ServiceRef {
                namespace: "shop".into(),
                service: name.into(),
                port: PortRef::Number(80),
            }),
            fallback: None,
            timeouts: Timeouts::default(),
            window: Duration::ZERO,
            replies: Vec::new(),
            cold_start: None,
            session: None,
            autowired: None,
        }
    }

    fn found(routes: &[Route]) -> Vec<String> {
        let host = "a.test".parse().unwrap();
        let shadowed = shadowed(&host, routes.iter());
        shadowed.iter().map(|(key, by)| format!("{key} by {by}")).collect()
    }

    #[test]
    fn fault_c5_of_two_routes_for_the_same_requests_the_younger_is_shadowed() {
        let routes = [
            route("old", 1, "a.test", &[], None),
            route("young", 2, "a.test", &["/"], None),
            route("path", 3, "a.test", &["/x"], None),
            route("header", 3, "a.test", &[], Some("x")),
            route("other", 3, "b.test", &[], None),
        ];
        assert_eq!(found(&routes), ["shop/young by shop/old"]);
        let alike = [
            route("a", 1, "a.test", &["/x", "/y"], None),
            route("b", 1, "a.test", &["/y"], None),
        ];
        assert_eq!(
            found(&alike),
            ["shop/a by shop/b"],
            "of the same age the greater name, as upstream"
        );
    }

    #[test]
    fn who_shadows_is_who_the_table_finds() {
        for (one, other) in [((1, "a"), (2, "b")), ((2, "a"), (1, "b")), ((1, "a"), (1, "b"))] {
            let routes = [one, other].map(|(created, name)| route(name, created, "a.test", &[], None));
            let mut table = RouteTable::new();
            for route in &routes {
                table.insert(route, route.key.clone());
            }
            let found = table.find("a.test", "/", &HeaderMap::new()).unwrap();
            let shadowed = shadowed(&"a.test".parse().unwrap(), routes.iter());
            assert_eq!(shadowed.values().collect::<Vec<_>>(), [found], "{one:?} {other:?}");
        }
    }
}
