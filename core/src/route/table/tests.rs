#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;
use crate::route::{PortRef, ServiceRef, Timeouts};

fn route(name: &str, rules: Vec<Rule>) -> Route {
    Route {
        key: TargetKey::object("shop", name),
        created: 0,
        rules,
        upstream: Arc::new(ServiceRef {
            namespace: "shop".into(),
            service: name.into(),
            port: PortRef::Number(80),
        }),
        fallback: None,
        timeouts: Timeouts::default(),
        window: Duration::from_secs(60),
        replies: Vec::new(),
        cold_start: None,
        session: None,
        autowired: None,
    }
}

fn rule(hosts: &[&str], paths: &[&str], headers: &[(&str, Option<&str>)]) -> Rule {
    Rule {
        hosts: hosts.iter().map(|host| host.parse().unwrap()).collect(),
        paths: paths.iter().map(|path| PathMatch::prefix(path)).collect(),
        headers: headers.iter().map(|(name, value)| header(name, *value)).collect(),
    }
}

fn header(name: &str, value: Option<&str>) -> HeaderRule {
    HeaderRule {
        name: name.parse().unwrap(),
        value: value.map_or(HeaderValueMatch::Present, |value| {
            HeaderValueMatch::Exact(value.to_owned())
        }),
    }
}

fn table(routes: &[Route]) -> RouteTable<String> {
    let mut table = RouteTable::new();
    for route in routes {
        table.insert(route, route.key.name().to_owned());
    }
    table
}

fn find<'a>(
    table: &'a RouteTable<String>,
    host: &str,
    path: &str,
    headers: &[(&'static str, &'static str)],
) -> Option<&'a str> {
    let headers = headers
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect();
    table.find(host, path, &headers).map(String::as_str)
}

#[test]
fn paths_match_whole_segments_and_the_longest_wins() {
    let table = table(&[
        route("root", vec![rule(&["a.example"], &["/"], &[])]),
        route("api", vec![rule(&["a.example"], &["/api/"], &[])]),
        route("deep", vec![rule(&["a.example"], &["//api/v1//"], &[])]),
    ]);
    for (path, expected) in [
        ("/", "root"),
        ("/api", "api"),
        ("/api/x", "api"),
        ("/apix", "root"),
        ("/api/v1", "deep"),
        ("/api/v1/x/y", "deep"),
        ("/api/v12", "api"),
        ("", "root"),
        ("/%61pi/x", "api"),
    ] {
        assert_eq!(find(&table, "a.example", path, &[]), Some(expected), "{path}");
    }
}

#[test]
fn exact_hosts_come_before_wildcards_and_those_before_any() {
    let table = table(&[
        route("any", vec![rule(&["*"], &[], &[])]),
        route("com", vec![rule(&["*.com"], &[], &[])]),
        route("example", vec![rule(&["*.example.com"], &[], &[])]),
        route("exact", vec![rule(&["a.example.com"], &[], &[])]),
    ]);
    let expected = [
        ("a.example.com", "exact"),
        ("b.example.com", "example"),
        ("c.b.example.com", "example"),
        ("example.com", "com"),
        ("com", "any"),
        ("localhost", "any"),
        ("A.Example.COM.:80", "exact"),
    ];
    for (host, expected) in expected {
        assert_eq!(find(&table, host, "/", &[]), Some(expected), "{host}");
    }
}

#[test]
fn headers_choose_by_number_then_by_values() {
    let table = table(&[
        route("foo", vec![rule(&["a"], &[], &[("x", Some("foo"))])]),
        route("bar", vec![rule(&["a"], &[], &[("x", Some("bar"))])]),
        route("presence", vec![rule(&["a"], &[], &[("x", None)])]),
        route("none", vec![rule(&["a"], &[], &[])]),
        route(
            "two-values",
            vec![rule(&["a"], &[], &[("x", Some("foo")), ("y", Some("baz"))])],
        ),
        route("one-value", vec![rule(&["a"], &[], &[("x", Some("foo")), ("y", None)])]),
    ]);
    assert_eq!(find(&table, "a", "/", &[("x", "foo")]), Some("foo"));
    assert_eq!(find(&table, "a", "/", &[("x", "any")]), Some("presence"));
    assert_eq!(find(&table, "a", "/", &[]), Some("none"));
    assert_eq!(
        find(&table, "a", "/", &[("x", "foo"), ("y", "baz")]),
        Some("two-values")
    );
    assert_eq!(
        find(&table, "a", "/", &[("x", "foo"), ("y", "other")]),
        Some("one-value")
    );
}

#[test]
fn a_shorter_path_is_tried_when_headers_at_the_longest_do_not_match() {
    let table = table(&[
        route("general", vec![rule(&["a"], &["/api"], &[])]),
        route("special", vec![rule(&["a"], &["/api/v1"], &[("x", Some("1"))])]),
    ]);
    assert_eq!(find(&table, "a", "/api/v1", &[]), Some("general"));
    assert_eq!(find(&table, "a", "/api/v1", &[("x", "1")]), Some("special"));
}

#[test]
fn of_two_alike_the_older_wins_whichever_came_first() {
    let (mut old, mut young) = (
        route("old", vec![rule(&["a"], &[], &[])]),
        route("young", vec![rule(&["a"], &[], &[])]),
    );
    (old.created, young.created) = (1, 2);
    assert_eq!(find(&table(&[young.clone(), old.clone()]), "a", "/", &[]), Some("old"));
    assert_eq!(find(&table(&[old.clone(), young.clone()]), "a", "/", &[]), Some("old"));
    old.created = 2;
    assert_eq!(
        find(&table(&[old, young]), "a", "/", &[]),
        Some("young"),
        "as upstream: the greater name"
    );
}

#[test]
fn a_regex_is_tried_before_the_empty_prefix() {
    let mut regex = rule(&["a"], &[], &[]);
    regex.paths.push(PathMatch::regex("/item/[0-9]+").unwrap());
    let table = table(&[
        route("root", vec![rule(&["a"], &["/"], &[])]),
        route("item", vec![regex]),
        route("api", vec![rule(&["a"], &["/item/7"], &[])]),
    ]);
    assert_eq!(find(&table, "a", "/item/12", &[]), Some("item"));
    assert_eq!(find(&table, "a", "/item/12/x", &[]), Some("root"));
    assert_eq!(find(&table, "a", "/item/7", &[]), Some("api"));
}

#[test]
fn a_route_without_rules_matches_nothing_and_an_empty_rule_everything() {
    assert_eq!(find(&table(&[route("none", vec![])]), "a", "/", &[]), None);
    assert_eq!(
        find(&table(&[route("all", vec![Rule::default()])]), "", "/x", &[]),
        Some("all")
    );
}

#[test]
fn a_clone_does_not_see_later_changes() {
    let mut table = table(&[route("one", vec![rule(&["a"], &[], &[])])]);
    let before = table.clone();
    assert!(table.remove(&TargetKey::object("shop", "one")));
    assert!(!table.remove(&TargetKey::object("shop", "one")));
    table.insert(&route("two", vec![rule(&["b"], &[], &[])]), "two".into());
    assert_eq!(
        (find(&before, "a", "/", &[]), find(&before, "b", "/", &[])),
        (Some("one"), None)
    );
    assert_eq!(
        (find(&table, "a", "/", &[]), find(&table, "b", "/", &[])),
        (None, Some("two"))
    );
    assert_eq!((before.len(), table.len()), (1, 1));
    assert_eq!(table.values().collect::<Vec<_>>(), ["two"]);
}

#[test]
fn a_long_path_costs_no_more_than_reading_it() {
    let table = table(&[route("deep", vec![rule(&["a"], &["/x/y"], &[])])]);
    let path = "/x/y".to_owned() + &"/a".repeat(32_000);
    let started = std::time::Instant::now();
    for _ in 0..10 {
        assert_eq!(find(&table, "a", &path, &[]), Some("deep"));
    }
    // Trying every prefix of it takes seconds for each.
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[test]
fn removing_the_longest_prefix_leaves_the_shorter_ones() {
    let mut table = table(&[
        route("long", vec![rule(&["a"], &["/x/y/z"], &[])]),
        route("short", vec![rule(&["a"], &["/x"], &[])]),
    ]);
    table.remove(&TargetKey::object("shop", "long"));
    assert_eq!(find(&table, "a", "/x/y/z", &[]), Some("short"));
    table.insert(&route("back", vec![rule(&["a"], &["/x/y"], &[])]), "back".into());
    assert_eq!(find(&table, "a", "/x/y/z", &[]), Some("back"));
}

#[test]
fn a_host_that_a_namespace_names_gets_no_answer_from_wider_patterns_of_others() {
    let of = |namespace: &str, rules| Route {
        key: TargetKey::object(namespace, namespace),
        ..route(namespace, rules)
    };
    let routes = [
        of(
            "shop",
            vec![rule(&["a.b.test"], &["/api"], &[]), rule(&["*.test"], &["/help"], &[])],
        ),
        of("mine", vec![rule(&["*.b.test"], &[], &[("x", Some("1"))])]),
        of("all", vec![rule(&["*"], &[], &[])]),
    ];
    let fill = |mut table: RouteTable<String>| {
        for route in &routes {
            table.insert(route, route.key.name().to_owned());
        }
        table
    };
    let (owned, contested) = (fill(RouteTable::of_owned_hosts()), fill(RouteTable::new()));
    let header = [("x", "1")];
    for (host, path, headers, in_owned, in_contested) in [
        ("a.b.test", "/api", &header[..], Some("shop"), Some("shop")),
        ("a.b.test", "/login", &header[..], None, Some("mine")),
        ("a.b.test", "/login", &[], None, Some("all")),
        ("a.b.test", "/help", &[], Some("shop"), Some("shop")),
        ("c.b.test", "/login", &header[..], Some("mine"), Some("mine")),
        ("c.b.test", "/help", &[], None, Some("shop")),
        ("elsewhere", "/login", &[], Some("all"), Some("all")),
    ] {
        assert_eq!(find(&owned, host, path, headers), in_owned, "{host}{path}");
        assert_eq!(find(&contested, host, path, headers), in_contested, "{host}{path}");
    }
}

/// The documented precedence, tried on every rule of every route.
fn model(routes: &[Route], host: &str, path: &str, headers: &HeaderMap) -> Option<String> {
    let mut best: Option<(Vec<i64>, Precedence, String)> = None;
    for route in routes {
        for rule in &route.rules {
            let any = [HostPattern::Any];
            let all = [PathMatch::prefix("")];
            let hosts = if rule.hosts.is_empty() { &any[..] } else { &rule.hosts };
            let paths = if rule.paths.is_empty() { &all[..] } else { &rule.paths };
            for (pattern, prefix) in hosts.iter().flat_map(|host| paths.iter().map(move |path| (host, path))) {
                let Some(host_rank) = host_rank(pattern, host) else {
                    continue;
                };
                let Some(path_rank) = path_rank(prefix, path) else {
                    continue;
                };
                if !rule.headers.iter().all(|header| header.matches(headers)) {
                    continue;
                }
                let rank = vec![-host_rank, -path_rank];
                let candidate = (rank, Precedence::from_rule(route, rule), route.key.name().to_owned());
                if best
                    .as_ref()
                    .is_none_or(|best| (&candidate.0, &candidate.1) < (&best.0, &best.1))
                {
                    best = Some(candidate);
                }
            }
        }
    }
    best.map(|(_, _, name)| name)
}

/// Greater is more specific; `None` does not match.
fn host_rank(pattern: &HostPattern, host: &str) -> Option<i64> {
    match pattern {
        HostPattern::Any => Some(0),
        HostPattern::Suffix(suffix) => host.ends_with(&format!(".{suffix}")).then_some(suffix.len() as i64),
        HostPattern::Exact(exact) => (**exact == *host).then_some(1_000),
    }
}

/// Greater wins; a regular expression comes between the empty prefix and all others.
fn path_rank(pattern: &PathMatch, path: &str) -> Option<i64> {
    let trimmed = path.trim_matches('/');
    match pattern {
        PathMatch::Prefix(prefix) if prefix.is_empty() => Some(0),
        PathMatch::Prefix(prefix) => {
            let inside = trimmed == prefix || trimmed.starts_with(&format!("{prefix}/"));
            inside.then_some(1 + prefix.len() as i64)
        }
        PathMatch::Regex(regex) => regex.is_match(path).then_some(1),
    }
}

fn any_path() -> impl Strategy<Value = PathMatch> {
    let prefix = prop_oneof![Just("/"), Just("/x"), Just("/x/y"), Just("/x/yy"), Just("/z")];
    let regex = prop_oneof![Just("/x/.*"), Just("/z/?"), Just("/(x|z)")];
    prop_oneof![
        4 => prefix.prop_map(PathMatch::prefix),
        1 => regex.prop_map(|text| PathMatch::regex(text).unwrap()),
    ]
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let hosts = proptest::collection::vec(
        prop_oneof![
            Just("*"),
            Just("a"),
            Just("b.a"),
            Just("*.a"),
            Just("*.b.a"),
            Just("c.b.a")
        ],
        0..3,
    );
    let paths = proptest::collection::vec(any_path(), 0..3);
    let headers = proptest::collection::vec(
        (
            prop_oneof![Just("h"), Just("i")],
            proptest::option::of(prop_oneof![Just("1"), Just("2")]),
        ),
        0..2,
    );
    (hosts, paths, headers).prop_map(|(hosts, paths, headers)| Rule {
        paths,
        ..rule(&hosts, &[], &headers)
    })
}

fn any_route() -> impl Strategy<Value = Route> {
    (0..6_u8, 0..3_i64, proptest::collection::vec(any_rule(), 0..3)).prop_map(|(name, created, rules)| Route {
        created,
        ..route(&name.to_string(), rules)
    })
}

proptest! {
    #[test]
    fn the_table_finds_what_trying_every_rule_finds(
        changes in proptest::collection::vec((any_route(), any::<bool>()), 0..12),
        host in prop_oneof![Just("a"), Just("b.a"), Just("c.b.a"), Just("d.c.b.a"), Just("x")],
        path in prop_oneof![Just("/"), Just("/x"), Just("/x/y/z"), Just("/x/yy"), Just("/xx"), Just("/z/")],
        header_values in proptest::collection::vec((prop_oneof![Just("h"), Just("i")], prop_oneof![Just("1"), Just("2")]), 0..3),
    ) {
        let mut table = RouteTable::new();
        let mut routes: Vec<Route> = Vec::new();
        let mut headers = HeaderMap::new();
        for (name, value) in header_values {
            headers.append(name, HeaderValue::from_static(value));
        }
        for (route, keep) in changes {
            let before = (table.clone(), table.find(host, path, &headers).cloned());
            routes.retain(|other| other.key != route.key);
            if keep {
                table.insert(&route, route.key.name().to_owned());
                routes.push(route);
            } else {
                table.remove(&route.key);
            }
            prop_assert_eq!(table.len(), routes.len());
            prop_assert_eq!(table.find(host, path, &headers).cloned(), model(&routes, host, path, &headers));
            prop_assert_eq!(before.0.find(host, path, &headers).cloned(), before.1, "a clone stays as it was");
        }
    }

    /// Replies try rules in their own order, so they need the rule alone; both must decide alike.
    #[test]
    fn a_rule_matches_what_a_table_of_it_finds(
        route in any_route(),
        host in prop_oneof![Just("a"), Just("B.a:80"), Just("c.b.a."), Just("D.C.B.A"), Just("x"), Just(".a"), Just("")],
        path in prop_oneof![Just("/"), Just("/x"), Just("/x/y/z"), Just("/%78/yy"), Just("/xx"), Just("//x//"), Just("/z/"), Just("*")],
        header_values in proptest::collection::vec((prop_oneof![Just("h"), Just("i")], prop_oneof![Just("1"), Just("2")]), 0..3),
    ) {
        let mut headers = HeaderMap::new();
        for (name, value) in header_values {
            headers.append(name, HeaderValue::from_static(value));
        }
        let mut lowered = [0; host::MAX_LENGTH];
        let normalized = host::normalize(host, &mut lowered).unwrap_or_default();
        let decoded = path::decode(path);
        let matches = route.rules.iter().any(|rule| rule.matches(normalized, &decoded, &headers));
        let table = table(std::slice::from_ref(&route));
        prop_assert_eq!(table.find(host, path, &headers).is_some(), matches);
    }
}
