#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use kube::CustomResourceExt;
use serde_json::{Value, json};

use super::*;

#[test]
fn an_interceptor_route_is_read_and_written_whole() {
    let document = json!({
        "apiVersion": "http.keda.sh/v1beta1",
        "kind": "InterceptorRoute",
        "metadata": {"name": "api", "namespace": "shop"},
        "spec": {
            "target": {"service": "api", "portName": "web"},
            "rules": [{
                "hosts": ["api.example.com"],
                "paths": [{"value": "/v1"}],
                "headers": [{"name": "x-team"}, {"name": "x-ring", "value": "beta"}],
            }],
            "scalingMetric": {
                "concurrency": {"targetValue": 10},
                "requestRate": {"targetValue": 100, "window": "2m", "granularity": "500ms"},
            },
            "timeouts": {"readiness": "0s", "request": "1m", "responseHeader": "30s"},
            "coldStart": {
                "fallback": {"service": {"name": "backup", "port": 80}},
                "placeholder": {"response": {"statusCode": 503, "body": "soon", "headers": {"Retry-After": "3"}}},
                "maxPendingRequests": 100,
                "overflow": "Placeholder",
            },
            "staticRoutes": [{
                "rules": [{"paths": [{"value": "/robots.txt"}]}],
                "response": {"statusCode": 200, "bodyFromConfigMap": {"name": "pages", "key": "robots.txt"}},
                "responseMode": "Always",
            }],
            "sessionPersistence": {"type": "Cookie", "absoluteTimeout": "1h", "cookie": {"name": "stick"}},
        },
        "status": {"conditions": [{
            "type": "Ready", "status": "True", "reason": "Reconciled", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 3,
        }]},
    });
    let object: InterceptorRoute = serde_json::from_value(document.clone()).unwrap();
    assert_eq!(serde_json::to_value(&object).unwrap(), document);
}

#[test]
fn conditions_in_the_former_format_of_the_go_add_on_are_read() {
    let document = json!({
        "apiVersion": "http.keda.sh/v1alpha1",
        "kind": "HTTPScaledObject",
        "metadata": {"name": "api", "namespace": "shop"},
        "spec": {"scaleTargetRef": {"service": "api", "port": 80}},
        "status": {"conditions": [
            {"type": "Ready", "status": "Unknown", "reason": "PendingCreation", "timestamp": "2025-12-05T18:52:42Z"},
            {"type": "Ready", "status": "True"},
        ]},
    });
    let object: HttpScaledObject = serde_json::from_value(document).unwrap();
    let conditions = object.status.unwrap().conditions;
    assert_eq!(conditions.len(), 2);
    assert_eq!(conditions[0].last_transition_time, None);
    assert!(!conditions.iter().any(Condition::is_complete));
    assert_eq!(
        (conditions[1].reason.as_str(), conditions[1].message.as_str()),
        ("", "")
    );
}

#[test]
fn an_http_scaled_object_is_read_and_written_whole() {
    let document = json!({
        "apiVersion": "http.keda.sh/v1alpha1",
        "kind": "HTTPScaledObject",
        "metadata": {"name": "api", "namespace": "shop"},
        "spec": {
            "hosts": ["api.example.com"],
            "pathPrefixes": ["/v1"],
            "headers": [{"name": "x-ring", "value": "beta"}],
            "scaleTargetRef": {"name": "api", "apiVersion": "apps/v1", "kind": "Deployment", "service": "api", "port": 80},
            "coldStartTimeoutFailoverRef": {"service": "backup", "portName": "web", "timeoutSeconds": 5},
            "replicas": {"min": 0, "max": 10},
            "targetPendingRequests": 50,
            "scaledownPeriod": 300,
            "initialCooldownPeriod": 10,
            "scalingMetric": {"requestRate": {"targetValue": 20, "window": "1m", "granularity": "1s"}},
            "timeouts": {"conditionWait": "20s", "responseHeader": "5s"},
        },
        "status": {"targetWorkload": "apps/v1/Deployment/api", "targetService": "api:80"},
    });
    let object: HttpScaledObject = serde_json::from_value(document.clone()).unwrap();
    assert_eq!(serde_json::to_value(&object).unwrap(), document);
}

#[test]
fn missing_fields_have_upstreams_defaults() {
    let route: InterceptorRouteSpec = serde_json::from_value(
        json!({"target": {"service": "a", "port": 1}, "scalingMetric": {"requestRate": {"targetValue": 1}}}),
    )
    .unwrap();
    let rate = route.scaling_metric.request_rate.unwrap();
    assert_eq!((rate.window.as_str(), rate.granularity.as_str()), ("1m", "1s"));

    let spec = json!({
        "scaleTargetRef": {"service": "a", "port": 1},
        "coldStartTimeoutFailoverRef": {"service": "b", "port": 2},
        "scalingMetric": {"requestRate": {}, "concurrency": {}},
    });
    let old: HttpScaledObjectSpec = serde_json::from_value(spec).unwrap();
    assert_eq!(old.cold_start_timeout_failover_ref.unwrap().timeout_seconds, 30);
    let metric = old.scaling_metric.unwrap();
    assert_eq!(
        (
            metric.request_rate.unwrap().target_value,
            metric.concurrency.unwrap().target_value
        ),
        (100, 100)
    );
}

#[test]
fn unknown_fields_of_a_scaled_object_are_ignored() {
    let spec = json!({
        "scaleTargetRef": {"name": "api", "envSourceContainerName": "x"},
        "minReplicaCount": 0, "cooldownPeriod": 5, "pollingInterval": 30,
        "advanced": {"horizontalPodAutoscalerConfig": {}},
        "fallback": {"failureThreshold": 3, "replicas": 1},
        "triggers": [
            {"type": "kedify-http", "metadata": {"port": "80"}, "metricType": "AverageValue"},
            {"type": "cpu", "authenticationRef": {"name": "x"}},
        ],
    });
    let spec: ScaledObjectSpec = serde_json::from_value(spec).unwrap();
    assert_eq!(spec.triggers[0].metadata["port"], "80");
    assert_eq!((spec.cooldown_period, spec.max_replica_count), (Some(5), None));
}

#[test]
fn trigger_metadata_that_is_not_a_string_is_refused_by_key() {
    let refused = |value: Value| {
        let trigger = json!({"type": "kedify-http", "metadata": {"hosts": "a", "port": value}});
        serde_json::from_value::<ScaleTrigger>(trigger).unwrap_err().to_string()
    };
    assert_eq!(refused(json!(8080)), "port must be a string; quote it: \"8080\"");
    assert_eq!(refused(json!(true)), "port must be a string; quote it: \"true\"");
    assert_eq!(refused(json!(null)), "port must be a string, but it has no value");
    assert!(refused(json!(["a"])).starts_with("port must be a string; a list or map"));
}

#[test]
fn the_definitions_carry_upstreams_names() {
    let definition = serde_json::to_value(InterceptorRoute::crd()).unwrap();
    assert_eq!(definition["metadata"]["name"], "interceptorroutes.http.keda.sh");
    assert_eq!(definition["spec"]["versions"][0]["name"], "v1beta1");
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    assert_eq!(schema["required"], json!(["scalingMetric", "target"]));
    let cold_start = &schema["properties"]["coldStart"]["properties"];
    assert_eq!(cold_start["overflow"]["enum"], json!(["Reject", "Placeholder"]));

    let definition = serde_json::to_value(HttpScaledObject::crd()).unwrap();
    assert_eq!(definition["metadata"]["name"], "httpscaledobjects.http.keda.sh");
    let names = &definition["spec"]["names"];
    assert_eq!(
        (&names["kind"], &names["shortNames"]),
        (&json!("HTTPScaledObject"), &json!(["httpso"]))
    );
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    assert_eq!(schema["required"], json!(["scaleTargetRef"]));
}
