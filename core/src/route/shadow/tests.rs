#![allow(clippy::unwrap_used)]

use std::time::Duration;

use http::HeaderMap;
use proptest::prelude::*;

use super::super::header::{HeaderRule, HeaderValueMatch};
use super::super::{PortRef, RouteTable, ServiceRef, Timeouts};
use super::*;

fn route(key: TargetKey, created: i64, host: &str, paths: &[&str], header: Option<&str>) -> Route {
    let header = header.map(|value| HeaderRule {
        name: http::header::ACCEPT,
        value: HeaderValueMatch::Exact(value.into()),
    });
    Route {
        created,
        rules: vec![Rule {
            hosts: vec![host.parse().unwrap()],
            paths: paths.iter().map(|path| PathMatch::prefix(path)).collect(),
            headers: header.into_iter().collect(),
        }],
        upstream: std::sync::Arc::new(ServiceRef {
            namespace: key.namespace().into(),
            service: key.name().into(),
            port: PortRef::Number(80),
        }),
        fallback: None,
        timeouts: Timeouts::default(),
        window: Duration::ZERO,
        replies: Vec::new(),
        cold_start: None,
        session: None,
        autowired: None,
        key,
    }
}

fn hosts(route: &Route) -> impl Iterator<Item = &HostPattern> {
    route.rules.iter().flat_map(|rule| &rule.hosts)
}

fn of_all(routes: &[Route]) -> Shadows {
    let mut shadows = Shadows::new(true);
    routes.iter().for_each(|route| shadows.insert(route, hosts(route)));
    shadows
}

fn found(routes: &[Route]) -> Vec<String> {
    let shadows = of_all(routes);
    let winners = |route: &Route| shadows.winners(route, hosts(route)).into_values();
    let lines = |route: &Route| {
        winners(route)
            .map(|by| format!("{} by {by}", route.key))
            .collect::<Vec<_>>()
    };
    routes.iter().flat_map(lines).collect()
}

#[test]
fn fault_c5_of_two_routes_for_the_same_requests_the_younger_is_shadowed() {
    let key = |name| TargetKey::object("shop", name);
    let routes = [
        route(key("old"), 1, "a.test", &[], None),
        route(key("young"), 2, "a.test", &["/"], None),
        route(key("path"), 3, "a.test", &["/x"], None),
        route(key("header"), 3, "a.test", &[], Some("x")),
        route(key("other"), 3, "b.test", &[], None),
    ];
    assert_eq!(found(&routes), ["shop/young by shop/old"]);
    let alike = [
        route(key("a"), 1, "a.test", &["/x", "/y"], None),
        route(key("b"), 1, "a.test", &["/y"], None),
    ];
    assert_eq!(
        found(&alike),
        ["shop/a by shop/b"],
        "of the same age the greater name, as upstream"
    );
}

#[test]
fn the_winner_is_the_route_that_the_table_finds() {
    for (one, other) in [((1, "a"), (2, "b")), ((2, "a"), (1, "b")), ((1, "a"), (1, "b"))] {
        let routes =
            [one, other].map(|(created, name)| route(TargetKey::object("shop", name), created, "a.test", &[], None));
        let mut table = RouteTable::new();
        for route in &routes {
            table.insert(route, route.key.clone());
        }
        let found = table.find("a.test", "/", &HeaderMap::new()).unwrap();
        let shadows = of_all(&routes);
        let winners: Vec<TargetKey> = routes
            .iter()
            .flat_map(|route| shadows.winners(route, hosts(route)).into_values())
            .collect();
        assert_eq!(winners, std::slice::from_ref(found), "{one:?} {other:?}");
    }
}

#[test]
fn a_change_among_ten_thousand_routes_of_a_host_looks_at_its_own_conditions() {
    let own = |i: usize| {
        let path = format!("/{i}");
        route(TargetKey::object("shop", &path[1..]), 1, "a.test", &[&path], None)
    };
    let mut routes: Vec<Route> = (0..10_000).map(own).collect();
    let mut shadows = of_all(&routes);
    shadows.settle();
    for (i, route) in routes.iter_mut().enumerate().take(1_000) {
        shadows.remove(route, hosts(route));
        route.rules = own(i + 1).rules;
        shadows.insert(route, hosts(route));
        assert_eq!(
            shadows.unsettled.len(),
            2,
            "the condition it leaves, and the one it joins"
        );
        let touched = shadows.settle();
        assert!(touched.len() <= 4, "{touched:?}");
    }
}

/// The rules applied to all routes, each time anew.
fn model(owned: bool, routes: &BTreeMap<TargetKey, Route>, route: &Route) -> BTreeMap<HostPattern, TargetKey> {
    let mut winners = BTreeMap::new();
    for host in hosts(route) {
        let asks = |other: &Route, text: &String| {
            let mut rules = other.rules.iter().filter(|rule| rule.hosts.contains(host));
            let competes = !owned || other.key.namespace() == route.key.namespace();
            competes && rules.any(|rule| texts(rule).contains(text))
        };
        let own: BTreeSet<String> = route.rules.iter().flat_map(texts).collect();
        let winner = own.iter().find_map(|text| {
            let asking = routes.values().filter(|other| asks(other, text));
            asking
                .min_by_key(|other| Seniority::from_route(other))
                .filter(|winner| winner.key != route.key)
        });
        winners.extend(winner.map(|winner| (host.clone(), winner.key.clone())));
    }
    winners
}

fn any_route() -> impl Strategy<Value = Route> {
    let paths = prop::sample::subsequence(vec!["/", "/x", "/y"], 0..=3);
    let key = (
        prop::sample::select(vec!["a", "b"]),
        prop::sample::select(vec!["x", "y", "z"]),
    );
    let host = prop::sample::select(vec!["a.test", "*.test", "*"]);
    let header = prop::option::of(Just("v"));
    (key, 0..3_i64, host, paths, header).prop_map(|((namespace, name), created, host, paths, header)| {
        route(TargetKey::object(namespace, name), created, host, &paths, header)
    })
}

proptest! {
    #[test]
    fn winners_are_those_of_a_model_that_compares_all_routes(
        owned: bool,
        steps in prop::collection::vec((any_route(), prop::bool::weighted(0.7), any::<bool>()), 1..40),
    ) {
        let mut shadows = Shadows::new(owned);
        let (mut routes, mut changed) = (BTreeMap::<TargetKey, Route>::new(), BTreeSet::new());
        let mut known: BTreeMap<TargetKey, BTreeMap<HostPattern, TargetKey>> = BTreeMap::new();
        for (route, set, settle) in steps {
            if let Some(before) = routes.remove(&route.key) {
                shadows.remove(&before, hosts(&before));
            }
            changed.insert(route.key.clone());
            if set {
                shadows.insert(&route, hosts(&route));
                routes.insert(route.key.clone(), route);
            }
            if !settle {
                continue;
            }
            // A reader asks again only for the routes that changed and for those it is given.
            for key in std::mem::take(&mut changed).into_iter().chain(shadows.settle()) {
                match routes.get(&key) {
                    Some(route) => known.insert(key, shadows.winners(route, hosts(route))),
                    None => known.remove(&key),
                };
            }
            let expected = routes.iter().map(|(key, route)| (key.clone(), model(owned, &routes, route))).collect();
            prop_assert_eq!(&known, &expected);
        }
        let conditions: usize = routes.values().map(|route| shadows.conditions(route, hosts(route)).len()).sum();
        let held: usize = shadows.contests.values().map(|contest| 1 + contest.others.len()).sum();
        prop_assert_eq!(held, conditions, "nothing is left of removed routes");
    }
}
