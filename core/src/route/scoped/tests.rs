#![allow(clippy::unwrap_used)]

use std::time::Duration;

use super::*;
use crate::route::PortRef;
use crate::route::Timeouts;
use crate::route::path::PathMatch;

fn service(namespace: &str, name: &str) -> Arc<ServiceRef> {
    Arc::new(ServiceRef {
        namespace: namespace.into(),
        service: name.into(),
        port: PortRef::Number(80),
    })
}

fn route(namespace: &str, hosts: &[&str], paths: &[&str]) -> Route {
    let name = paths.first().copied().unwrap_or("/").replace('/', "r");
    Route {
        key: TargetKey::object(namespace, &name),
        created: 0,
        rules: vec![Rule {
            hosts: hosts.iter().map(|host| host.parse().unwrap()).collect(),
            paths: paths.iter().map(|path| PathMatch::prefix(path)).collect(),
            headers: Vec::new(),
        }],
        upstream: service(namespace, "api-pods"),
        fallback: None,
        timeouts: Timeouts::default(),
        window: Duration::from_secs(60),
        replies: Vec::new(),
        cold_start: None,
        session: None,
        autowired: Some(service(namespace, "api")),
    }
}

fn table(routes: &[Route]) -> ScopedTable<String> {
    let mut table = ScopedTable::default();
    for route in routes {
        table.insert(route, route.key.to_string());
    }
    table
}

fn find(table: &ScopedTable<String>, namespace: &str, host: &str, path: &str) -> Option<String> {
    table
        .find(&Scope::new(service(namespace, "api")), host, path, &HeaderMap::new())
        .cloned()
}

#[test]
fn each_of_two_namespaces_with_the_same_host_gets_its_own_route() {
    let table = table(&[route("shop", &["api"], &[]), route("blog", &["api"], &[])]);
    assert_eq!(find(&table, "shop", "api:80", "/").as_deref(), Some("shop/r"));
    assert_eq!(find(&table, "blog", "API", "/").as_deref(), Some("blog/r"));
    assert_eq!(find(&table, "else", "api", "/"), None);
}

#[test]
fn an_unknown_host_is_accepted_and_an_unknown_path_is_not() {
    let table = table(&[route("shop", &["api"], &["/v1"])]);
    for host in ["10.0.0.1", "api.shop.svc.cluster.local:8080", "", "[::1]:80"] {
        assert_eq!(
            find(&table, "shop", host, "/v1/x").as_deref(),
            Some("shop/rv1"),
            "{host}"
        );
    }
    assert_eq!(find(&table, "shop", "api", "/v2"), None);
}

#[test]
fn among_several_triggers_of_a_service_the_host_decides() {
    let table = table(&[
        route("shop", &["a.test"], &["/a"]),
        route("shop", &["*.b.test"], &["/b", "/a"]),
        route("shop", &["*"], &["/c"]),
    ]);
    assert_eq!(find(&table, "shop", "x.b.test", "/a").as_deref(), Some("shop/rb"));
    assert_eq!(find(&table, "shop", "a.test", "/a").as_deref(), Some("shop/ra"));
    assert_eq!(find(&table, "shop", "anything", "/c").as_deref(), Some("shop/rc"));
}

#[test]
fn a_route_that_is_no_longer_autowired_or_gone_is_not_found() {
    let mut table = table(&[route("shop", &["api"], &[]), route("blog", &["api"], &[])]);
    let mut plain = route("shop", &["api"], &[]);
    plain.autowired = None;
    table.insert(&plain, "plain".to_owned());
    assert_eq!(find(&table, "shop", "api", "/"), None);
    table.remove(&TargetKey::object("blog", "r"));
    assert_eq!(find(&table, "blog", "api", "/"), None);
}

#[test]
fn a_host_that_looks_like_another_scope_stays_in_its_own() {
    let table = table(&[route("shop", &["api"], &[]), route("blog", &["api"], &[])]);
    let forged = "api.80.api.blog.autowired";
    assert_eq!(find(&table, "shop", forged, "/").as_deref(), Some("shop/r"));
}
