//! Hosts that routes of several namespaces claim.

use serde_json::{Value, json};

use crate::support::{Interceptor, Manifests, says, until};

/// A namespace with a route for these hosts and an app that answers with the namespace's name.
async fn namespace(manifests: &Manifests, name: &'static str, created: &str, hosts: &[&str]) {
    namespace_at(manifests, name, created, hosts, "/").await;
}

/// The same for this path only.
async fn namespace_at(manifests: &Manifests, name: &'static str, created: &str, hosts: &[&str], path: &str) {
    let address = says(name).await;
    let items = json!([
        {
            "apiVersion": "http.keda.sh/v1beta1", "kind": "InterceptorRoute",
            "metadata": {"namespace": name, "name": "web", "creationTimestamp": created},
            "spec": {
                "target": {"service": "web", "port": 80}, "rules": [{"hosts": hosts, "paths": [{"value": path}]}],
                "scalingMetric": {"concurrency": {"targetValue": 1}},
            },
        },
        {
            "apiVersion": "v1", "kind": "Service", "metadata": {"namespace": name, "name": "web"},
            "spec": {"ports": [{"port": 80}]},
        },
        {
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"namespace": name, "name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4", "ports": [{"port": address.port()}],
            "endpoints": [{"addresses": [address.ip().to_string()]}],
        },
    ]);
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
    manifests.write(&format!("{name}.json"), &list.to_string());
}

fn record(manifests: &Manifests, entries: &Value) {
    let record = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "default", "name": "keda-http-hosts"},
        "data": entries,
    });
    manifests.write("record.json", &record.to_string());
}

impl Interceptor {
    async fn who_has(&self, host: &str) -> String {
        self.get(host, "/").await.text().await.unwrap()
    }

    /// What `/routes` shows of the route of a namespace, once it is there.
    async fn of(&self, namespace: &str) -> Value {
        until("the route", || async {
            let routes: Vec<Value> = serde_json::from_str(&self.admin("/routes").await.1).unwrap();
            let found = routes
                .into_iter()
                .find(|route| route["route"] == format!("{namespace}/web"));
            found.filter(|route| route["ready_endpoints"] != json!([]))
        })
        .await
    }

    async fn has(&self, namespace: &str, host: &str) {
        until("the host changes hands", || async {
            (self.who_has(host).await == namespace).then_some(())
        })
        .await;
    }
}

const OLD: &str = "2024-01-01T00:00:00Z";
const NEW: &str = "2026-01-01T00:00:00Z";

#[tokio::test]
async fn at_the_start_the_oldest_claim_has_the_host_and_the_other_is_reported() {
    let manifests = Manifests::new();
    namespace(&manifests, "a-new", NEW, &["web.test", "a.test"]).await;
    namespace(&manifests, "z-old", OLD, &["web.test"]).await;
    let interceptor = Interceptor::on(manifests, &[]).await;
    interceptor.of("a-new").await;
    assert_eq!(interceptor.who_has("web.test").await, "z-old");
    assert_eq!(
        interceptor.who_has("a.test").await,
        "a-new",
        "its other host is its own"
    );
    assert_eq!(
        interceptor.of("a-new").await["lost_hosts"],
        json!({"web.test": "z-old"})
    );
    assert_eq!(interceptor.of("z-old").await["lost_hosts"], Value::Null);
    let (status, ready) = interceptor.admin("/readyz?verbose").await;
    assert!(
        status == 200 && ready.contains("a-new/web: host web.test belongs to namespace z-old"),
        "{ready}"
    );
}

#[tokio::test]
async fn who_has_a_host_keeps_it_and_the_next_one_gets_it_when_it_goes() {
    let interceptor = Interceptor::start().await;
    namespace(&interceptor.manifests, "first", NEW, &["web.test"]).await;
    interceptor.has("first", "web.test").await;
    // Older, but too late; its other host shows that it has been taken in.
    namespace(&interceptor.manifests, "second", OLD, &["web.test", "second.test"]).await;
    interceptor.has("second", "second.test").await;
    assert_eq!(interceptor.who_has("web.test").await, "first");
    interceptor.manifests.remove("first.json");
    interceptor.has("second", "web.test").await;
    let (_, ready) = interceptor.admin("/readyz?verbose").await;
    assert!(!ready.contains("belongs to"), "{ready}");
}

#[tokio::test]
async fn what_is_written_down_about_a_host_goes_before_age() {
    let manifests = Manifests::new();
    namespace(&manifests, "old", OLD, &["web.test"]).await;
    namespace(&manifests, "new", NEW, &["web.test"]).await;
    record(&manifests, &json!({"web.test": "new"}));
    let interceptor = Interceptor::on(manifests, &[]).await;
    interceptor.of("new").await;
    assert_eq!(interceptor.who_has("web.test").await, "new");
    record(&interceptor.manifests, &json!({"web.test": "old"}));
    interceptor.has("old", "web.test").await;
}

#[tokio::test]
async fn an_exact_host_below_the_wildcard_of_another_namespace_is_a_host_of_its_own() {
    let manifests = Manifests::new();
    namespace(&manifests, "wild", OLD, &["*.web.test", "*"]).await;
    namespace(&manifests, "exact", NEW, &["a.web.test", "*"]).await;
    let interceptor = Interceptor::on(manifests, &[]).await;
    interceptor.of("exact").await;
    interceptor.of("wild").await;
    assert_eq!(interceptor.who_has("a.web.test").await, "exact");
    assert_eq!(interceptor.who_has("b.web.test").await, "wild");
    assert_eq!(
        interceptor.who_has("anything").await,
        "wild",
        "the catch-all is owned alike"
    );
}

#[tokio::test]
async fn a_host_with_some_paths_only_is_nobody_elses_at_the_other_paths() {
    let manifests = Manifests::new();
    namespace(&manifests, "wild", OLD, &["*.web.test", "*"]).await;
    namespace_at(&manifests, "exact", NEW, &["a.web.test"], "/api").await;
    let interceptor = Interceptor::on(manifests, &[]).await;
    interceptor.of("exact").await;
    interceptor.of("wild").await;
    assert_eq!(
        interceptor.get("a.web.test", "/api/x").await.text().await.unwrap(),
        "exact"
    );
    assert_eq!(interceptor.get("a.web.test", "/login").await.status(), 404);
    assert_eq!(interceptor.who_has("b.web.test").await, "wild");
}

#[tokio::test]
async fn without_ownership_the_rules_of_all_namespaces_compete() {
    let manifests = Manifests::new();
    namespace(&manifests, "a", OLD, &["web.test"]).await;
    namespace(&manifests, "b", NEW, &["web.test"]).await;
    let interceptor = Interceptor::on(manifests, &[("KEDA_HTTP_HOST_OWNERSHIP", "none")]).await;
    interceptor.of("a").await;
    interceptor.manifests.remove("b.json");
    until("the other is gone", || async {
        let routes = interceptor.admin("/routes").await.1;
        (!routes.contains("b/web")).then_some(())
    })
    .await;
    assert_eq!(interceptor.who_has("web.test").await, "a");
    // Upstream lets the older of two equal rules win, and does so whoever came first.
    namespace(&interceptor.manifests, "older", "2020-01-01T00:00:00Z", &["web.test"]).await;
    interceptor.has("older", "web.test").await;
    let (_, ready) = interceptor.admin("/readyz?verbose").await;
    assert!(!ready.contains("belongs to"), "{ready}");
}

/// A route of namespace `shop` to a Service that need not be there.
fn route(name: &str, created: &str, rule: &Value) -> Value {
    json!({
        "apiVersion": "http.keda.sh/v1beta1", "kind": "InterceptorRoute",
        "metadata": {"namespace": "shop", "name": name, "creationTimestamp": created},
        "spec": {
            "target": {"service": name, "port": 80}, "rules": [rule],
            "scalingMetric": {"concurrency": {"targetValue": 1}},
        },
    })
}

#[tokio::test]
async fn fault_c5_two_apps_with_one_host_in_one_namespace_are_reported() {
    let manifests = Manifests::new();
    let rule = json!({"hosts": ["web.test"]});
    manifests.write("old.json", &route("old", OLD, &rule).to_string());
    manifests.write("new.json", &route("new", NEW, &rule).to_string());
    let interceptor = Interceptor::on(manifests, &[]).await;
    let (_, routes) = interceptor.admin("/routes").await;
    let routes: Vec<Value> = serde_json::from_str(&routes).unwrap();
    let new = routes.iter().find(|route| route["route"] == "shop/new").unwrap();
    assert_eq!(new["shadowed_hosts"], json!({"web.test": "shop/old"}));
    let old = routes.iter().find(|route| route["route"] == "shop/old").unwrap();
    assert_eq!(old["shadowed_hosts"], Value::Null);
    let (_, ready) = interceptor.admin("/readyz?verbose").await;
    assert!(
        ready.contains("shop/new: host web.test is routed to shop/old"),
        "{ready}"
    );
}

#[tokio::test]
async fn fault_c2_a_misspelt_field_takes_no_requests_and_is_named() {
    let manifests = Manifests::new();
    manifests.write(
        "route.json",
        &route("api", OLD, &json!({"host": "web.test"})).to_string(),
    );
    let interceptor = Interceptor::on(manifests, &[]).await;
    for host in ["web.test", "any.test"] {
        assert_eq!(interceptor.get(host, "/").await.status(), 404);
    }
    let (_, ready) = interceptor.admin("/readyz?verbose").await;
    assert!(
        ready.contains("spec.rules[0].host: unknown field; did you mean"),
        "{ready}"
    );
}

#[tokio::test]
async fn fault_c1_a_host_that_is_not_ascii_is_found_by_its_punycode() {
    let manifests = Manifests::new();
    namespace(&manifests, "shop", OLD, &["punycöde.example"]).await;
    let interceptor = Interceptor::on(manifests, &[]).await;
    interceptor.of("shop").await;
    assert_eq!(interceptor.who_has("xn--punycde-e1a.example").await, "shop");
}
