//! Routes and endpoints come and go while requests run.

use serde_json::json;

use crate::support::*;

#[tokio::test]
async fn an_unknown_host_is_not_found_and_counted_nowhere() {
    let interceptor = Interceptor::start().await;
    interceptor.idle("api").await;
    let response = interceptor.get("nobody.example", "/").await;
    assert_eq!(response.status(), 404);
    assert!(response.text().await.unwrap().starts_with("Not Found"));
    assert_eq!(interceptor.queue("api").await, (0, 0));
    let metrics = interceptor.metrics().await;
    assert!(metrics.contains(r#"interceptor_request_count_total{code="404",method="GET",route_name="",route_namespace="",cold_start="false"} 1"#), "{metrics}");
}

#[tokio::test]
async fn a_route_is_live_as_soon_as_its_file_is_there_and_gone_with_it() {
    let interceptor = Interceptor::start().await;
    interceptor.serve("api", says("hello").await).await;
    assert_eq!(interceptor.get("api.example", "/").await.status(), 200);
    interceptor.manifests.remove("api-route.json");
    until("404", || async {
        (interceptor.get("api.example", "/").await.status() == 404).then_some(())
    })
    .await;
    until("no counters", || async {
        (interceptor.queue("api").await == (-1, -1)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn routes_shows_which_requests_a_route_takes() {
    let interceptor = Interceptor::start().await;
    let rules = json!({"rules": [
        {"hosts": ["api.example", "*.api.example"], "paths": [{"value": "/v1/"}], "headers": [{"name": "X-Tenant"}]},
        {"hosts": ["other.example"]},
    ]});
    interceptor.manifests.route_with("api", &rules);
    interceptor.sees("api", &[]).await;
    let expected = json!([
        {"hosts": ["api.example", "*.api.example"], "paths": ["/v1"], "headers": ["x-tenant"]},
        {"hosts": ["other.example"], "paths": []},
    ]);
    assert_eq!(interceptor.view("api").await["rules"], expected);
}

#[tokio::test]
async fn a_target_can_be_switched_and_its_counters_stay() {
    let interceptor = Interceptor::start().await;
    interceptor.serve("api", says("first").await).await;
    assert_eq!(interceptor.get("api.example", "/").await.text().await.unwrap(), "first");
    interceptor.manifests.service("second", None);
    interceptor.manifests.ready("second", &[says("second").await]);
    interceptor
        .manifests
        .route_with("api", &json!({"target": {"service": "second", "portName": "http"}}));
    until("the second", || async {
        (interceptor.get("api.example", "/").await.text().await.unwrap() == "second").then_some(())
    })
    .await;
    assert!(interceptor.queue("api").await.1 >= 2);
}

#[tokio::test]
async fn hosts_are_compared_without_case_port_and_trailing_dot() {
    let interceptor = Interceptor::start().await;
    interceptor.serve("api", says("hello").await).await;
    for host in ["API.Example", "api.example:1234", "api.example.", "Api.example.:80"] {
        assert_eq!(interceptor.get(host, "/").await.status(), 200, "{host}");
    }
}

#[tokio::test]
async fn paths_and_headers_choose_among_routes() {
    let interceptor = Interceptor::start().await;
    let rule = |path: &str, headers: serde_json::Value| json!({"rules": [{"hosts": ["shop.example"], "paths": [{"value": path}], "headers": headers}]});
    let (a, b, c) = (says("a").await, says("b").await, says("c").await);
    for (name, app, spec) in [
        ("a", a, rule("/", json!([]))),
        ("b", b, rule("/api", json!([]))),
        ("c", c, rule("/api", json!([{"name": "x-version", "value": "2"}]))),
    ] {
        interceptor.manifests.route_with(name, &spec);
        interceptor.manifests.ready(name, &[app]);
        interceptor.sees(name, &[app]).await;
    }
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    for (path, version, expected) in [
        ("/x", "1", "a"),
        ("/api/x", "1", "b"),
        ("/api", "2", "c"),
        ("/apix", "2", "a"),
    ] {
        let response = client
            .get(interceptor.url(path))
            .header("host", "shop.example")
            .header("x-version", version)
            .send()
            .await
            .unwrap();
        assert_eq!(response.text().await.unwrap(), expected, "{path} {version}");
    }
}

#[tokio::test]
async fn an_invalid_route_is_reported_and_harms_no_other() {
    let interceptor = Interceptor::start().await;
    interceptor.serve("api", says("hello").await).await;
    interceptor.manifests.route_with(
        "bad",
        &json!({"scalingMetric": {"requestRate": {"targetValue": 1, "window": "1s", "granularity": "0s"}}}),
    );
    let report = until("the refusal", || async {
        let report = interceptor.admin("/readyz?verbose").await.1;
        report.contains("shop/bad").then_some(report)
    })
    .await;
    assert!(report.contains("granularity"), "{report}");
    assert_eq!(interceptor.admin("/readyz").await.0, 200);
    assert_eq!(interceptor.get("api.example", "/").await.status(), 200);
    assert!(interceptor.metrics().await.contains("interceptor_source_problems 1"));
    interceptor.manifests.remove("bad-route.json");
    until("healing", || async {
        (!interceptor.admin("/readyz?verbose").await.1.contains("shop/bad")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_file_that_breaks_keeps_its_last_good_state() {
    let interceptor = Interceptor::start().await;
    interceptor.serve("api", says("hello").await).await;
    interceptor.manifests.write("api-route.json", "{ not: json");
    until("the problem", || async {
        interceptor
            .admin("/readyz?verbose")
            .await
            .1
            .contains("api-route.json")
            .then_some(())
    })
    .await;
    assert_eq!(interceptor.get("api.example", "/").await.status(), 200);
    interceptor.manifests.route("api");
    until("healing", || async {
        (!interceptor.admin("/readyz?verbose").await.1.contains("api-route.json")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_missing_service_is_reported() {
    let interceptor = Interceptor::start().await;
    interceptor.idle("api").await;
    interceptor.manifests.remove("api-service.json");
    until("the reason", || async {
        let problem = interceptor.view("api").await["problem"].clone();
        problem
            .as_str()
            .is_some_and(|problem| problem.contains("no Service shop/api"))
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_pod_that_leaves_while_requests_run_finishes_them() {
    let (finish, mut finished) = tokio::sync::mpsc::unbounded_channel();
    let finishing = raw_app(move |_, mut raw| {
        let finish = finish.clone();
        async move {
            raw.read_until("\r\n\r\n").await;
            raw.write("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nhalf").await;
            finish.send(raw).unwrap();
        }
    })
    .await;
    let interceptor = Interceptor::start().await;
    interceptor.serve("api", finishing).await;
    let mut client = interceptor.send("GET / HTTP/1.1\r\nhost: api.example\r\n\r\n").await;
    client.read_until("half").await;
    let mut endpoint = finished.recv().await.unwrap();
    interceptor.manifests.ready("api", &[]);
    interceptor.sees("api", &[]).await;
    endpoint.write("half").await;
    client.read_until("half").await;
    interceptor.pending("api", 0).await;
}

#[tokio::test]
async fn health_checks_are_answered_and_wake_nobody() {
    let interceptor = Interceptor::start().await;
    interceptor.manifests.service("api", None);
    let object = json!({
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": "api", "namespace": "shop"},
        "spec": {"scaleTargetRef": {"name": "api"}, "triggers": [{"type": "kedify-http", "metadata": {
            "hosts": "api.example", "service": "api", "port": "80", "scalingMetric": "concurrency", "targetValue": "1",
            "healthcheckPath": "/health", "healthcheckResponse": "passthrough",
        }}]},
    });
    interceptor.manifests.write("api.json", &object.to_string());
    interceptor.sees("api", &[]).await;
    assert_eq!(interceptor.get("api.example", "/health").await.status(), 200);
    assert_eq!(interceptor.queue("api").await, (0, 0));
    let app = says("app").await;
    interceptor.manifests.ready("api", &[app]);
    interceptor.sees("api", &[app]).await;
    assert_eq!(
        interceptor.get("api.example", "/health").await.text().await.unwrap(),
        "app"
    );
    assert_eq!(interceptor.queue("api").await, (0, 0), "whoever answers");
}
