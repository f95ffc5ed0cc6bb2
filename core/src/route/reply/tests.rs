#![allow(clippy::unwrap_used)]

use http::{HeaderName, HeaderValue};

use super::*;
use crate::route::header::{HeaderRule, HeaderValueMatch};
use crate::route::path::PathMatch;

fn rule(hosts: &[&str], paths: &[&str], headers: &[(&str, Option<&str>)]) -> Rule {
    let header = |(name, value): &(&str, Option<&str>)| HeaderRule {
        name: name.parse().unwrap(),
        value: value.map_or(HeaderValueMatch::Present, |value| {
            HeaderValueMatch::Exact(value.to_owned())
        }),
    };
    Rule {
        hosts: hosts.iter().map(|host| host.parse().unwrap()).collect(),
        paths: paths.iter().map(|path| PathMatch::prefix(path)).collect(),
        headers: headers.iter().map(header).collect(),
    }
}

fn takes(rule: Rule, host: &str, path: &str, headers: &[(&str, &str)]) -> bool {
    let headers = headers.iter().map(|(name, value)| {
        (
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_str(value).unwrap(),
        )
    });
    first_match(&[Requests::Rules(vec![rule])], host, path, &headers.collect()).is_some()
}

/// Upstream's table for static routes.
#[test]
fn all_fields_of_a_rule_must_match_and_an_empty_one_matches_everything() {
    let all = || rule(&["app.example.com"], &["/api"], &[("custom-header", Some("yes"))]);
    let table = [
        (rule(&[], &[], &[]), "any.host", "/anything", None, true),
        (rule(&[], &["/healthz"], &[]), "", "/healthz", None, true),
        (rule(&[], &["/healthz"], &[]), "", "/other", None, false),
        (rule(&["example.com"], &[], &[]), "example.com", "/", None, true),
        (rule(&["example.com"], &[], &[]), "example.org", "/", None, false),
        (rule(&["example.com"], &[], &[]), "Example.com:8080", "/", None, true),
        (
            rule(&[], &[], &[("custom-header", Some("yes"))]),
            "",
            "/",
            Some("yes"),
            true,
        ),
        (
            rule(&[], &[], &[("custom-header", Some("yes"))]),
            "",
            "/",
            Some("no"),
            false,
        ),
        (all(), "app.example.com", "/api/v1", Some("yes"), true),
        (all(), "app.example.com", "/api/v1", None, false),
        (all(), "app.example.com", "/v1", Some("yes"), false),
        (all(), "b.example.com", "/api/v1", Some("yes"), false),
    ];
    for (rule, host, path, header, expected) in table {
        let headers: Vec<_> = header.iter().map(|value| ("custom-header", *value)).collect();
        assert_eq!(
            takes(rule.clone(), host, path, &headers),
            expected,
            "{rule:?} {host} {path} {header:?}"
        );
    }
}

#[test]
fn one_of_the_hosts_is_enough() {
    let table: [(&str, &[&str], bool); 11] = [
        ("a.com", &["a.com"], true),
        ("b.com", &["a.com"], false),
        ("x.a.com", &["*.a.com"], true),
        ("a.com", &["*.a.com"], false),
        ("xa.com", &["*.a.com"], false),
        ("x.y.a.com", &["*.a.com"], true),
        ("anything", &["*"], true),
        ("a.com", &["a.com", "b.com"], true),
        ("b.com", &["a.com", "b.com"], true),
        ("c.com", &["a.com", "b.com"], false),
        (".a.com", &["*.a.com"], false),
    ];
    for (host, hosts, expected) in table {
        assert_eq!(
            takes(rule(hosts, &[], &[]), host, "/", &[]),
            expected,
            "{host} {hosts:?}"
        );
    }
}

#[test]
fn one_of_the_paths_is_enough_and_prefixes_are_whole_segments() {
    let table: [(&str, &[&str], bool); 12] = [
        ("/healthz", &["/healthz"], true),
        ("/api/v1", &["/api"], true),
        ("/healthz", &["/health"], false),
        ("/anything", &["/"], true),
        ("/healthz", &["/healthz/"], true),
        ("/readyz", &["/healthz", "/readyz"], true),
        ("/other", &["/healthz", "/readyz"], false),
        ("/healthz/", &["/healthz"], true),
        ("/anything", &[""], true),
        ("/%68ealthz", &["/healthz"], true),
        ("/api//x", &["/api"], true),
        ("/", &["/api"], false),
    ];
    for (path, paths, expected) in table {
        assert_eq!(
            takes(rule(&[], paths, &[]), "", path, &[]),
            expected,
            "{path} {paths:?}"
        );
    }
}

#[test]
fn all_headers_must_match() {
    let both = || rule(&[], &[], &[("required", Some("expected")), ("any", None)]);
    let empty = || rule(&[], &[], &[("empty", Some(""))]);
    assert!(takes(both(), "", "/", &[("required", "expected"), ("any", "x")]));
    assert!(takes(
        both(),
        "",
        "/",
        &[("required", "expected"), ("any", ""), ("x", "y")]
    ));
    assert!(!takes(both(), "", "/", &[("any", "x")]));
    assert!(!takes(both(), "", "/", &[("required", "expected")]));
    assert!(!takes(both(), "", "/", &[("required", "wrong"), ("any", "x")]));
    assert!(!takes(both(), "", "/", &[]));
    assert!(takes(empty(), "", "/", &[("empty", "")]));
    assert!(!takes(empty(), "", "/", &[("empty", "x")]));
}

#[test]
fn the_first_entry_in_the_list_wins() {
    let requests = [
        Requests::Path("/exact".into()),
        Requests::Rules(vec![rule(&[], &["/a"], &[]), rule(&[], &["/b"], &[])]),
        Requests::Rules(vec![rule(&[], &["/b/c"], &[])]),
        Requests::Rules(vec![Rule::default()]),
        Requests::Rules(Vec::new()),
    ];
    let at = |path| first_match(&requests, "", path, &HeaderMap::new());
    assert_eq!(at("/exact"), Some(0));
    assert_eq!(at("/exact/more"), Some(3), "a health check's path is the very path");
    assert_eq!(at("/a/x"), Some(1));
    assert_eq!(at("/b/c"), Some(1), "not the more specific one");
    assert_eq!(at("/c"), Some(3));
    assert_eq!(
        first_match(&requests[4..], "", "/", &HeaderMap::new()),
        None,
        "no rules match nothing"
    );
}

#[test]
fn the_path_gives_the_key() {
    for (path, key) in [
        ("/", "index.html"),
        ("", "index.html"),
        ("/style.css", "style.css"),
        ("/a/b.css", "a/b.css"),
        ("//x", "/x"),
        ("/my%20page.html", "my page.html"),
    ] {
        assert_eq!(key_of_path(path), key);
    }
}
