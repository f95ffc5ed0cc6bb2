//! What the interceptor answers itself: static routes, placeholders, and refusals because too many are held.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use keda_http_proto::pending::WatchRequest;
use keda_http_proto::pending::pending_requests_client::PendingRequestsClient;
use serde_json::{Value, json};

use crate::support::*;

/// A route `api` with this cold start, without endpoints.
async fn cold(interceptor: &Interceptor, cold_start: &Value) {
    interceptor
        .manifests
        .route_with("api", &json!({"coldStart": cold_start}));
    interceptor.sees("api", &[]).await;
}

fn config_map(data: &Value) -> String {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "data": data,
        "metadata": {"name": "pages", "namespace": "shop", "labels": {"http.keda.sh/response-body": "true"}},
    })
    .to_string()
}

fn ask(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: api.example\r\nconnection: close\r\n\r\n")
}

#[tokio::test]
async fn a_static_route_answers_while_the_target_is_cold_and_then_forwards_and_never_counts() {
    let interceptor = Interceptor::start().await;
    let static_routes = json!({"staticRoutes": [{
        "rules": [{"paths": [{"value": "/status"}]}],
        "response": {"body": "asleep", "headers": {"X-From": "route"}},
    }]});
    interceptor.manifests.route_with("api", &static_routes);
    interceptor.sees("api", &[]).await;
    let response = interceptor.get("api.example", "/status/deep").await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["x-from"], "route");
    assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
    assert!(!response.headers().contains_key("x-keda-http-cold-start"));
    assert_eq!(response.text().await.unwrap(), "asleep");
    let app = says("awake").await;
    interceptor.manifests.ready("api", &[app]);
    interceptor.sees("api", &[app]).await;
    let response = interceptor.get("api.example", "/status").await;
    assert!(!response.headers().contains_key("x-keda-http-cold-start"));
    assert_eq!(response.text().await.unwrap(), "awake");
    assert_eq!(interceptor.queue("api").await, (0, 0));
    assert_eq!(
        interceptor.get("api.example", "/other").await.text().await.unwrap(),
        "awake"
    );
    assert_eq!(interceptor.queue("api").await.1, 1);
    let counted = r#"interceptor_request_count_total{code="200",method="GET",route_name="api",route_namespace="shop",cold_start="false"} 3"#;
    until("all three in the metrics", || async {
        interceptor.metrics().await.contains(counted).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_static_route_that_always_answers_hides_the_target_and_the_first_entry_wins() {
    let interceptor = Interceptor::start().await;
    let entry = |path: &str, body: &str| json!({"rules": [{"paths": [{"value": path}]}], "response": {"statusCode": 202, "body": body}, "responseMode": "Always"});
    let static_routes = json!({"staticRoutes": [entry("/a", "first"), entry("/a/b", "second")]});
    interceptor.manifests.route_with("api", &static_routes);
    let app = says("app").await;
    interceptor.manifests.ready("api", &[app]);
    interceptor.sees("api", &[app]).await;
    let response = interceptor.get("api.example", "/a/b").await;
    assert_eq!(response.status(), 202);
    assert_eq!(response.text().await.unwrap(), "first");
    assert_eq!(interceptor.queue("api").await, (0, 0));
}

#[tokio::test]
async fn a_placeholder_is_given_at_once_and_wakes_the_workload() {
    let interceptor = Interceptor::start().await;
    let response = json!({"body": "<html>waking up</html>", "headers": {"Retry-After": "3"}});
    // With a fallback, too: the placeholder goes before.
    interceptor.manifests.service("spare", None);
    interceptor.manifests.ready("spare", &[says("spare").await]);
    let fallback = json!({"service": {"name": "spare", "port": 80}});
    cold(
        &interceptor,
        &json!({"placeholder": {"response": response}, "fallback": fallback}),
    )
    .await;
    let mut client = PendingRequestsClient::connect(format!("http://{}", interceptor.bound.admin))
        .await
        .unwrap();
    let mut reports = client.watch(WatchRequest {}).await.unwrap().into_inner();
    assert!(reports.message().await.unwrap().unwrap().complete);
    let response = interceptor.get("api.example", "/").await;
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
    assert_eq!(response.headers()["retry-after"], "3");
    assert!(!response.headers().contains_key("x-keda-http-cold-start"));
    assert_eq!(response.text().await.unwrap(), "<html>waking up</html>");
    // The route is scaled by concurrency only and nothing is pending any more: the report has the arrival.
    let report = soon("the report of the arrival", reports.message())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (report.targets[0].key.as_str(), report.targets[0].arrivals),
        ("shop/api", 1)
    );
    interceptor.pending("api", 0).await;
    let app = says("awake").await;
    interceptor.manifests.ready("api", &[app]);
    interceptor.sees("api", &[app]).await;
    let response = interceptor.get("api.example", "/").await;
    assert_eq!(response.headers()["x-keda-http-cold-start"], "false");
    assert_eq!(response.text().await.unwrap(), "awake");
}

#[tokio::test]
async fn a_body_from_a_config_map_is_live_and_its_key_follows_the_path() {
    let interceptor = Interceptor::start().await;
    let response = json!({"statusCode": 203, "bodyFromConfigMap": {"name": "pages"}});
    cold(&interceptor, &json!({"placeholder": {"response": response}})).await;
    let missing = interceptor.get("api.example", "/").await;
    assert_eq!(missing.status(), 500);
    assert!(missing.text().await.unwrap().starts_with("Internal Server Error"));
    let ready = interceptor.admin("/readyz?verbose").await.1;
    assert!(ready.contains("there is no ConfigMap shop/pages"), "{ready}");
    for text in ["one", "two"] {
        let pages = config_map(&json!({"index.html": text, "app.css": "p{}"}));
        interceptor.manifests.write("pages.json", &pages);
        until("the new page", || async {
            (interceptor.get("api.example", "/").await.text().await.unwrap() == text).then_some(())
        })
        .await;
    }
    let style = interceptor.get("api.example", "/app.css?v=1").await;
    assert_eq!(style.headers()["content-type"], "text/css; charset=utf-8");
    let none = interceptor.get("api.example", "/favicon.ico").await;
    assert_eq!((none.status().as_u16(), none.content_length()), (203, Some(0)));
    assert!(!interceptor.admin("/readyz?verbose").await.1.contains("ConfigMap"));
}

#[tokio::test]
async fn head_gets_the_head_only_and_statuses_without_a_body_have_none() {
    let interceptor = Interceptor::start().await;
    let entry = |path: &str, status: u16| {
        json!({"rules": [{"paths": [{"value": path}]}], "responseMode": "Always",
            "response": {"statusCode": status, "body": "four", "headers": {"Content-Length": "99"}}})
    };
    let static_routes = json!({"staticRoutes": [entry("/page", 200), entry("/none", 204), entry("/same", 304)]});
    interceptor.manifests.route_with("api", &static_routes);
    interceptor.sees("api", &[]).await;
    let mut raw = interceptor.connect().await;
    // All on one connection: a wrong length would spoil the next answer.
    for (method, path, expected) in [
        ("HEAD", "/page", "200 OK"),
        ("HEAD", "/none", "204 No Content"),
        ("GET", "/none", "204 No Content"),
        ("GET", "/same", "304 Not Modified"),
    ] {
        raw.write(&format!("{method} {path} HTTP/1.1\r\nhost: api.example\r\n\r\n"))
            .await;
        let head = raw.read_until("\r\n\r\n").await;
        assert!(head.starts_with(&format!("HTTP/1.1 {expected}")), "{head}");
        assert!(head.ends_with("\r\n\r\n"), "no body: {head}");
        assert_eq!(head.contains("content-length: 4"), path == "/page", "{head}");
        assert!(path == "/page" || !head.contains("content-length"), "{head}");
    }
    raw.write(&ask("/page")).await;
    let page = raw.read_to_end().await;
    assert!(page.contains("content-length: 4") && page.ends_with("four"), "{page}");
}

#[tokio::test]
async fn a_request_above_the_limit_is_refused_and_a_place_is_free_again_when_one_leaves() {
    let interceptor = Interceptor::start().await;
    cold(&interceptor, &json!({"maxPendingRequests": 2})).await;
    let first = interceptor.send(&ask("/")).await;
    let mut second = interceptor.send(&ask("/")).await;
    interceptor.waiting("api", 2).await;
    let response = interceptor.get("api.example", "/").await;
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("retry-after"));
    assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
    assert_eq!(response.text().await.unwrap(), "too many pending requests\n");
    assert_eq!(interceptor.queue("api").await.1, 3, "what is refused counts, and wakes");
    let grpc = interceptor
        .send("POST / HTTP/1.1\r\nhost: api.example\r\ncontent-type: application/grpc\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        .await
        .read_to_end()
        .await;
    assert!(
        grpc.starts_with("HTTP/1.1 200") && grpc.contains("grpc-status: 14"),
        "{grpc}"
    );
    let metrics = interceptor.metrics().await;
    let rejected = r#"interceptor_cold_start_rejections_total{route_name="api",route_namespace="shop"} 2"#;
    assert!(metrics.contains(rejected), "{metrics}");
    first.leave();
    interceptor.waiting("api", 1).await;
    let mut third = interceptor.send(&ask("/")).await;
    interceptor.waiting("api", 2).await;
    interceptor.manifests.ready("api", &[says("awake").await]);
    for held in [&mut second, &mut third] {
        assert!(held.read_to_end().await.ends_with("awake"));
    }
    interceptor.waiting("api", 0).await;
}

#[tokio::test]
async fn the_setting_limits_routes_that_say_nothing() {
    let interceptor = Interceptor::with(&[("KEDA_HTTP_COLD_START_MAX_PENDING_REQUESTS", "1")]).await;
    interceptor.idle("api").await;
    interceptor.idle("other").await;
    let _held = interceptor.send(&ask("/")).await;
    interceptor.waiting("api", 1).await;
    assert_eq!(interceptor.get("api.example", "/").await.status(), 503);
    let _other = interceptor.send("GET / HTTP/1.1\r\nhost: other.example\r\n\r\n").await;
    interceptor.waiting("other", 1).await;
    cold(&interceptor, &json!({"maxPendingRequests": 2})).await;
    until("the route's own limit", || async {
        let _second = interceptor.send(&ask("/")).await;
        (interceptor.view("api").await["waiting"] == 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_overflow_gets_the_placeholder_and_the_others_are_held() {
    let interceptor = Interceptor::start().await;
    let placeholder = json!({"response": {"statusCode": 429, "bodyFromConfigMap": {"name": "pages"}}});
    interceptor
        .manifests
        .write("pages.json", &config_map(&json!({"wait.html": "please wait"})));
    let cold_start = json!({"maxPendingRequests": 1, "overflow": "Placeholder", "placeholder": placeholder});
    cold(&interceptor, &cold_start).await;
    let mut held = interceptor.send(&ask("/")).await;
    interceptor.waiting("api", 1).await;
    let response = interceptor.get("api.example", "/wait.html").await;
    assert_eq!(response.status(), 429);
    assert_eq!(response.text().await.unwrap(), "please wait");
    assert!(
        interceptor
            .metrics()
            .await
            .contains(r#"interceptor_cold_start_rejections_total{route_name="api",route_namespace="shop"} 1"#)
    );
    interceptor.manifests.ready("api", &[says("awake").await]);
    assert!(held.read_to_end().await.ends_with("awake"));
}

/// Several workers, many clients at once: exactly as many as may be held are.
#[tokio::test]
async fn never_is_one_more_held_than_the_limit_says() {
    const LIMIT: usize = 20;
    const CLIENTS: usize = 200;
    let interceptor = Interceptor::with(&[("KEDA_HTTP_WORKERS", "4")]).await;
    cold(&interceptor, &json!({"maxPendingRequests": LIMIT})).await;
    let refused = Arc::new(AtomicUsize::new(0));
    let released = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (address, refused, released) = (interceptor.bound.proxy, refused.clone(), released.clone());
            tokio::spawn(async move {
                let mut raw = Raw(tokio::net::TcpStream::connect(address).await.unwrap());
                raw.write(&ask("/")).await;
                let answer = raw.read_to_end().await;
                if answer.starts_with("HTTP/1.1 503") {
                    refused.fetch_add(1, Ordering::SeqCst);
                } else {
                    assert!(released.load(Ordering::SeqCst) && answer.ends_with("awake"), "{answer}");
                }
            })
        })
        .collect();
    until("everybody else refused", || async {
        assert!(interceptor.view("api").await["waiting"].as_u64() <= Some(LIMIT as u64));
        (refused.load(Ordering::SeqCst) >= CLIENTS - LIMIT).then_some(())
    })
    .await;
    interceptor.waiting("api", LIMIT as u64).await;
    released.store(true, Ordering::SeqCst);
    interceptor.manifests.ready("api", &[says("awake").await]);
    for client in clients {
        soon("an answer", client).await.unwrap();
    }
    assert_eq!(refused.load(Ordering::SeqCst), CLIENTS - LIMIT);
    interceptor.waiting("api", 0).await;
}
