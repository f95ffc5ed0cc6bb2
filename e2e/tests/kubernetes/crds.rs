//! Our CustomResourceDefinitions in a real API server: what they take, what they refuse and in which words.

use keda_http_e2e::control_plane::ControlPlane;
use keda_http_kubernetes::resources::InterceptorRoute;
use kube::Api;
use serde_json::{Value, json};

fn route(namespace: &str, change: &Value) -> Value {
    let mut route = json!({
        "apiVersion": "http.keda.sh/v1beta1", "kind": "InterceptorRoute", "metadata": {"namespace": namespace, "name": "r"},
        "spec": {
            "target": {"service": "app", "port": 80},
            "rules": [{"hosts": ["a.test"], "paths": [{"value": "/"}], "headers": [{"name": "x"}]}],
            "scalingMetric": {"requestRate": {"targetValue": 1}},
        },
    });
    for (key, value) in change.as_object().unwrap() {
        route["spec"][key] = value.clone();
    }
    route
}

fn scaled(namespace: &str, target: &Value) -> Value {
    json!({
        "apiVersion": "http.keda.sh/v1alpha1", "kind": "HTTPScaledObject", "metadata": {"namespace": namespace, "name": "s"},
        "spec": {"hosts": ["a.test"], "scaleTargetRef": target},
    })
}

/// What is set in the spec, and what the refusal says.
fn broken() -> Vec<(Value, &'static str)> {
    let response = json!({"statusCode": 200, "body": "x", "bodyFromConfigMap": {"name": "c"}});
    vec![
        (
            json!({"target": {"service": "app", "port": 80, "portName": "http"}}),
            "exactly one of 'port' or 'portName' must be set",
        ),
        (
            json!({"target": {"service": "app"}}),
            "exactly one of 'port' or 'portName' must be set",
        ),
        (json!({"target": {"service": "", "port": 80}}), "spec.target.service"),
        (json!({"target": {"service": "app", "port": 70000}}), "spec.target.port"),
        (
            json!({"scalingMetric": {}}),
            "at least one of 'concurrency' or 'requestRate' must be set",
        ),
        (
            json!({"scalingMetric": {"concurrency": {"targetValue": 0}}}),
            "greater than or equal to 1",
        ),
        (
            json!({"coldStart": {}}),
            "at least one of 'fallback', 'placeholder' or 'maxPendingRequests' must be set",
        ),
        (
            json!({"coldStart": {"maxPendingRequests": 1, "overflow": "Placeholder"}}),
            "'placeholder' must be set when 'overflow' is 'Placeholder'",
        ),
        (
            json!({"coldStart": {"maxPendingRequests": 0}}),
            "spec.coldStart.maxPendingRequests",
        ),
        (
            json!({"coldStart": {"placeholder": {"response": response}}}),
            "at most one of 'body' or 'bodyFromConfigMap' may be set",
        ),
        (
            json!({"staticRoutes": [{"rules": [], "response": {}}]}),
            "spec.staticRoutes[0].rules",
        ),
        (
            json!({"sessionPersistence": {"type": "Cookie", "absoluteTimeout": "10ms"}}),
            "must be at least 1s",
        ),
        (
            json!({"sessionPersistence": {"type": "Cookie", "cookie": {"name": "a b"}}}),
            "spec.sessionPersistence.cookie.name",
        ),
        (
            json!({"sessionPersistence": {"type": "Cookie", "cookie": {}}}),
            "spec.sessionPersistence.cookie",
        ),
        (json!({"rules": [{"hosts": ["a", "a"]}]}), "duplicate entries"),
    ]
}

#[tokio::test]
async fn what_breaks_a_rule_is_refused_with_the_go_add_ons_message() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let namespace = control_plane.namespace("crds").await.unwrap();
    for (change, message) in broken() {
        let error = control_plane
            .apply(&route(&namespace, &change).to_string())
            .await
            .unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains(message), "{change}: {text}");
    }
    for target in [
        json!({"service": "app"}),
        json!({"service": "app", "port": 1, "portName": "a"}),
    ] {
        let error = control_plane
            .apply(&scaled(&namespace, &target).to_string())
            .await
            .unwrap_err();
        assert!(
            format!("{error:#}").contains("must define either the 'portName' or the 'port'"),
            "{target}"
        );
    }
}

#[tokio::test]
async fn what_keeps_the_rules_is_taken_and_gets_the_defaults() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let namespace = control_plane.namespace("crds").await.unwrap();
    let change = json!({
        "coldStart": {"fallback": {"service": {"name": "f", "portName": "http"}}},
        "staticRoutes": [{"rules": [{}], "response": {"statusCode": 404}}],
        "sessionPersistence": {"type": "Cookie", "absoluteTimeout": "1h", "cookie": {"name": "session"}},
        "timeouts": {"readiness": "0s"},
    });
    control_plane
        .apply(&route(&namespace, &change).to_string())
        .await
        .unwrap();
    control_plane
        .apply(&scaled(&namespace, &json!({"service": "app", "port": 80})).to_string())
        .await
        .unwrap();
    let routes: Api<InterceptorRoute> = Api::namespaced(control_plane.client().await.unwrap(), &namespace);
    let spec = json!(routes.get("r").await.unwrap().spec);
    assert_eq!(
        spec["scalingMetric"]["requestRate"],
        json!({"targetValue": 1, "window": "1m", "granularity": "1s"})
    );
    assert_eq!(spec["coldStart"]["overflow"], "Reject");
    assert_eq!(spec["staticRoutes"][0]["responseMode"], "WhenUnavailable");
}
