//! What HTTPScaledObjects and `kedify-http` triggers can say, from the object to the answer.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::*;

/// An HTTPScaledObject `api` for `api.example`, with a Service of its own and what else is given.
fn http_scaled_object(interceptor: &Interceptor, metadata: &Value, more: &Value) {
    let mut spec = json!({"hosts": ["api.example"], "scaleTargetRef": {"service": "api", "portName": "http"}});
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    let mut object = json!({
        "apiVersion": "http.keda.sh/v1alpha1", "kind": "HTTPScaledObject",
        "metadata": {"name": "api", "namespace": "shop"}, "spec": spec,
    });
    for (key, value) in metadata.as_object().unwrap() {
        object["metadata"][key] = value.clone();
    }
    interceptor.manifests.service("api", None);
    interceptor.manifests.write("api.json", &object.to_string());
}

fn scaled_object(interceptor: &Interceptor, triggers: &Value) {
    let object = json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "api", "namespace": "shop"},
        "spec": {"scaleTargetRef": {"name": "api"}, "triggers": triggers},
    });
    interceptor.manifests.write("scaled.json", &object.to_string());
}

/// A `kedify-http` trigger to a Service with the name of the trigger, which says its name.
async fn trigger(interceptor: &Interceptor, name: &'static str, more: &Value) -> Value {
    let mut metadata =
        json!({"hosts": "api.example", "service": name, "portName": "http", "scalingMetric": "requestRate"});
    for (key, value) in more.as_object().unwrap() {
        metadata[key] = value.clone();
    }
    interceptor.manifests.service(name, None);
    interceptor.manifests.ready(name, &[says(name).await]);
    json!({"type": "kedify-http", "name": name, "metadata": metadata})
}

/// The answer to a request with these headers.
async fn ask(interceptor: &Interceptor, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut request = client.get(interceptor.url(path)).header("host", "api.example");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

#[tokio::test]
async fn an_http_scaled_object_takes_requests_by_host_path_and_header() {
    let interceptor = Interceptor::start().await;
    let spec =
        json!({"pathPrefixes": ["/v1", "/v2"], "headers": [{"name": "X-Team", "value": "blue"}, {"name": "X-Any"}]});
    http_scaled_object(&interceptor, &json!({}), &spec);
    let app = says("api").await;
    interceptor.manifests.ready("api", &[app]);
    interceptor.sees("api", &[app]).await;
    let both = [("x-team", "blue"), ("x-any", "")];
    assert_eq!(ask(&interceptor, "/v1/x", &both).await, (200, "api".into()));
    assert_eq!(ask(&interceptor, "/v2", &both).await.0, 200);
    assert_eq!(ask(&interceptor, "/v3", &both).await.0, 404);
    assert_eq!(ask(&interceptor, "/v1", &both[..1]).await.0, 404);
    assert_eq!(
        ask(&interceptor, "/v1", &[("x-team", "red"), ("x-any", "")]).await.0,
        404
    );
    assert_eq!(interceptor.queue("api").await.1, 2);
}

#[tokio::test]
async fn its_failover_answers_after_its_own_time_and_not_after_condition_wait() {
    let interceptor = Interceptor::start().await;
    interceptor.manifests.service("spare", None);
    interceptor.manifests.ready("spare", &[says("spare").await]);
    let spec = json!({
        "coldStartTimeoutFailoverRef": {"service": "spare", "port": 80, "timeoutSeconds": 1},
        "timeouts": {"conditionWait": "10m"},
    });
    http_scaled_object(&interceptor, &json!({}), &spec);
    interceptor.sees("api", &[]).await;
    let asked = Instant::now();
    assert_eq!(ask(&interceptor, "/", &[]).await, (200, "spare".into()));
    assert!(asked.elapsed() >= Duration::from_secs(1), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn its_timeouts_end_holds_and_late_answers() {
    let interceptor = Interceptor::start().await;
    let timeouts = json!({"timeouts": {"conditionWait": "50ms", "responseHeader": "50ms"}});
    http_scaled_object(&interceptor, &json!({}), &timeouts);
    interceptor.sees("api", &[]).await;
    let (status, text) = ask(&interceptor, "/", &[]).await;
    assert!(status == 504 && text.contains("not ready within"), "{text}");
    let silent = raw_app(|_, mut raw| async move {
        raw.read_to_end().await;
    })
    .await;
    interceptor.manifests.ready("api", &[silent]);
    interceptor.sees("api", &[silent]).await;
    let (status, text) = ask(&interceptor, "/", &[]).await;
    assert!(
        status == 504 && text.contains("no response header within 50ms"),
        "{text}"
    );
}

#[tokio::test]
async fn kedifys_annotations_lead_its_requests_to_the_pods_and_answer_health_checks() {
    let interceptor = Interceptor::start().await;
    let annotations = json!({"annotations": {
        "http.kedify.io/traffic-autowire": "service", "http.kedify.io/fallback-service": "api-pods",
        "http.kedify.io/healthcheck-path": "/health", "http.kedify.io/healthcheck-response": "static",
    }});
    http_scaled_object(&interceptor, &annotations, &json!({}));
    let app = says("pods").await;
    interceptor.manifests.service("api-pods", None);
    interceptor.manifests.ready("api-pods", &[app]);
    // The endpoints of the autowired Service lead back to the data path: they must not matter.
    interceptor.manifests.ready("api", &[interceptor.bound.proxy]);
    interceptor.sees("api", &[app]).await;
    assert_eq!(ask(&interceptor, "/", &[]).await, (200, "pods".into()));
    assert_eq!(ask(&interceptor, "/health", &[]).await, (200, String::new()));
    assert_eq!(interceptor.queue("api").await.1, 1, "a health check is no traffic");
}

#[tokio::test]
async fn several_triggers_are_routes_of_their_own_by_paths_and_headers() {
    let interceptor = Interceptor::start().await;
    let exact = json!([{"name": "x-version", "value": "v2"}]).to_string();
    let wild = json!([{"name": "x-version", "valueWildcard": "beta-*"}]).to_string();
    let regex = json!([{"name": "x-version", "valueRegex": "rc[0-9]+"}]).to_string();
    let triggers = json!([
        trigger(&interceptor, "plain", &json!({})).await,
        trigger(&interceptor, "deep", &json!({"pathPrefixes": "/deep,/low"})).await,
        trigger(&interceptor, "users", &json!({"pathRegex": "/users/[0-9]+"})).await,
        trigger(&interceptor, "exact", &json!({"headers": exact})).await,
        trigger(&interceptor, "wild", &json!({"headers": wild})).await,
        trigger(&interceptor, "regex", &json!({"headers": regex})).await,
    ]);
    scaled_object(&interceptor, &triggers);
    until("the routes", || async {
        (ask(&interceptor, "/", &[("x-version", "rc1")]).await.1 == "regex").then_some(())
    })
    .await;
    for (path, version, expected) in [
        ("/", "", "plain"),
        ("/users/7", "", "users"),
        ("/users/seven", "", "plain"),
        ("/deep/x", "", "deep"),
        ("/low", "", "deep"),
        ("/lower", "", "plain"),
        ("/", "v2", "exact"),
        ("/", "V2", "plain"),
        ("/", "BETA-1", "wild"),
        ("/", "beta", "plain"),
        ("/", "RC12", "regex"),
        ("/", "rc12x", "plain"),
    ] {
        let said = ask(&interceptor, path, &[("x-version", version)]).await;
        assert_eq!(said, (200, expected.into()), "{path} {version:?}");
    }
    assert_eq!(
        interceptor.queue("api:exact").await.1,
        1,
        "each has counters of its own"
    );
    assert_eq!(interceptor.queue("api:deep").await.1, 2);
    assert_eq!(interceptor.queue("api").await, (-1, -1), "the object itself has none");
}

#[tokio::test]
async fn a_trigger_of_upstreams_kind_makes_no_route_beside_its_objects() {
    let interceptor = Interceptor::start().await;
    let metadata = json!({"scalerAddress": "scaler:9090", "httpScaledObject": "api"});
    scaled_object(&interceptor, &json!([{"type": "external-push", "metadata": metadata}]));
    http_scaled_object(&interceptor, &json!({}), &json!({}));
    interceptor.sees("api", &[]).await;
    assert!(interceptor.metrics().await.contains("interceptor_routes 1\n"));
}

#[tokio::test]
async fn a_port_of_a_service_that_speaks_http2_is_spoken_to_in_http2() {
    let interceptor = Interceptor::start().await;
    http_scaled_object(&interceptor, &json!({}), &json!({}));
    interceptor.manifests.service("api", Some("kubernetes.io/h2c"));
    let app = app(axum::Router::new()
        .fallback(|request: axum::extract::Request| async move { format!("{:?}", request.version()) }))
    .await;
    interceptor.manifests.ready("api", &[app]);
    interceptor.sees("api", &[app]).await;
    assert_eq!(ask(&interceptor, "/", &[]).await, (200, "HTTP/2.0".into()));
}
