#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, StatusCode};
use keda_http_core::route::header::{HeaderRule, HeaderValueMatch};
use keda_http_core::route::host::HostPattern;
use keda_http_core::route::path::PathMatch;
use keda_http_core::route::reply::{Reply, Requests, StaticBody, StaticResponse, When};
use keda_http_core::route::{ColdStart, Overflow, PortRef, ServiceRef, Timeouts};
use keda_http_core::session::Session;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::source::Change;

fn object(document: &Value) -> Object {
    Object::parse(document).unwrap().unwrap()
}

fn route(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "http.keda.sh/v1beta1", "kind": "InterceptorRoute",
        "metadata": {"name": name, "namespace": "shop", "creationTimestamp": "1970-01-01T00:01:00Z"}, "spec": spec,
    })
}

/// A route to `service`, with what else is given.
fn to(service: &str, more: &Value) -> Value {
    let mut spec = json!({
        "target": {"service": service, "port": 80},
        "rules": [{"hosts": ["api.example.com"]}],
        "scalingMetric": {"concurrency": {"targetValue": 1}},
    });
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    spec
}

fn old(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "http.keda.sh/v1alpha1", "kind": "HTTPScaledObject",
        "metadata": {"name": name, "namespace": "shop"}, "spec": spec,
    })
}

fn scaled(name: &str, triggers: &Value) -> Value {
    json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": name, "namespace": "shop"},
        "spec": {"scaleTargetRef": {"name": name}, "triggers": triggers},
    })
}

/// A `kedify-http` trigger to `service`, with what else is given.
fn trigger(service: &str, more: &Value) -> Value {
    let mut metadata =
        json!({"hosts": "api.example.com", "service": service, "port": "80", "scalingMetric": "requestRate"});
    for (key, value) in more.as_object().unwrap() {
        metadata[key] = value.clone();
    }
    json!({"type": "kedify-http", "metadata": metadata})
}

fn named(name: &str, trigger: Value) -> Value {
    let mut trigger = trigger;
    trigger["name"] = json!(name);
    trigger
}

fn apply(index: &mut RouteIndex, document: &Value) -> Vec<String> {
    told(&index.update(&Change::Apply(object(document))))
}

fn delete(index: &mut RouteIndex, kind: Kind, name: &str) -> Vec<String> {
    told(&index.update(&Change::Delete(id(kind, name))))
}

fn id(kind: Kind, name: &str) -> ObjectId {
    ObjectId {
        kind,
        namespace: "shop".into(),
        name: name.into(),
    }
}

fn told(changes: &[RouteChange]) -> Vec<String> {
    let told = changes.iter().map(|change| match change {
        RouteChange::Set(route) => format!("{} -> {}", route.key, route.upstream.service),
        RouteChange::Remove(key) => format!("{key} gone"),
    });
    told.collect()
}

fn refused(index: &RouteIndex, kind: Kind, name: &str) -> Vec<String> {
    index
        .refused()
        .get(&id(kind, name))
        .into_iter()
        .flatten()
        .map(FieldError::to_string)
        .collect()
}

/// The one route that the document makes.
fn only(document: &Value) -> Route {
    let changes = RouteIndex::default().update(&Change::Apply(object(document)));
    let [RouteChange::Set(route)] = changes.as_slice() else {
        panic!("no single route: {changes:?}")
    };
    Route::clone(route)
}

fn service(name: &str, port: PortRef) -> Arc<ServiceRef> {
    Arc::new(ServiceRef {
        namespace: "shop".into(),
        service: name.into(),
        port,
    })
}

fn header(name: &str, value: HeaderValueMatch) -> HeaderRule {
    HeaderRule {
        name: HeaderName::from_bytes(name.as_bytes()).unwrap(),
        value,
    }
}

#[test]
fn an_interceptor_route_becomes_a_route() {
    let spec = json!({
        "target": {"service": "api", "portName": "web"},
        "rules": [
            {"hosts": ["API.example.com", "*.example.org", "*"], "paths": [{"value": "/v1/"}], "headers": [{"name": "X-Team"}, {"name": "x-ring", "value": "Beta"}]},
            {},
        ],
        "scalingMetric": {"requestRate": {"targetValue": 1, "window": "5m"}},
        "timeouts": {"readiness": "0s", "responseHeader": "1.5s"},
        "coldStart": {"fallback": {"service": {"name": "backup", "port": 8080}}},
    });
    let route = only(&route("api", &spec));
    assert_eq!((route.key.as_str(), route.created), ("shop/api", 60));
    assert_eq!(route.upstream, service("api", PortRef::Name("web".into())));
    assert_eq!(route.fallback, Some(service("backup", PortRef::Number(8080))));
    let timeouts = Timeouts {
        readiness: Some(Duration::ZERO),
        request: None,
        response_header: Some(Duration::from_millis(1500)),
    };
    assert_eq!((route.timeouts, route.window), (timeouts, Duration::from_secs(300)));
    let hosts = vec![
        HostPattern::Exact("api.example.com".into()),
        HostPattern::Suffix("example.org".into()),
        HostPattern::Any,
    ];
    assert_eq!(route.rules[0].hosts, hosts);
    assert_eq!(route.rules[0].paths, [PathMatch::Prefix("v1".into())]);
    let headers = [
        header("x-team", HeaderValueMatch::Present),
        header("x-ring", HeaderValueMatch::Exact("Beta".into())),
    ];
    assert_eq!(route.rules[0].headers, headers);
    assert_eq!(route.rules[1], keda_http_core::route::Rule::default());
}

#[test]
fn static_routes_are_replies_in_the_order_of_the_list() {
    let spec = json!({"staticRoutes": [
        {"rules": [{"paths": [{"value": "/robots.txt"}]}, {"hosts": ["b"]}], "responseMode": "Always",
         "response": {"statusCode": 204, "headers": {"X-Robots": "none"}}},
        {"rules": [{}], "response": {"bodyFromConfigMap": {"name": "pages"}}},
    ]});
    let replies = only(&route("api", &to("api", &spec))).replies;
    let [robots, pages] = replies.as_slice() else {
        panic!("{replies:?}")
    };
    assert_eq!((robots.when, pages.when), (When::Always, When::WhileUnavailable));
    assert_eq!(
        (robots.response.status, pages.response.status),
        (StatusCode::NO_CONTENT, StatusCode::OK)
    );
    assert_eq!(robots.response.headers["x-robots"], "none");
    let Requests::Rules(rules) = &robots.to else {
        panic!("{robots:?}")
    };
    assert_eq!(rules.len(), 2);
    let body = StaticBody::ConfigMap {
        name: "pages".into(),
        key: None,
    };
    assert_eq!(pages.response.body, body);
}

#[test]
fn what_happens_while_the_target_is_not_ready() {
    let cold_start = |given: Value| only(&route("api", &to("api", &json!({"coldStart": given})))).cold_start;
    let fallback = json!({"service": {"name": "backup", "port": 80}});
    assert_eq!(cold_start(json!({"fallback": fallback})), None, "requests are held");
    let placeholder = || json!({"response": {"body": "soon"}});
    let given = cold_start(json!({"placeholder": placeholder()})).unwrap();
    let response = given.placeholder.clone().unwrap();
    assert_eq!(
        (response.status, given.holds()),
        (StatusCode::SERVICE_UNAVAILABLE, false)
    );
    assert_eq!(response.body, StaticBody::Inline("soon".into()));
    let given = cold_start(json!({"maxPendingRequests": 5})).unwrap();
    assert_eq!(
        (given.max_pending.map(u32::from), given.overflow, given.holds()),
        (Some(5), Overflow::Reject, true)
    );
    let given = cold_start(json!({"maxPendingRequests": 5, "placeholder": placeholder()})).unwrap();
    assert!(!given.holds(), "the placeholder goes before");
    let both = json!({"maxPendingRequests": 5, "overflow": "Placeholder", "placeholder": placeholder()});
    assert!(cold_start(both).unwrap().holds(), "the placeholder is for the overflow");
    let unlimited = ColdStart {
        max_pending: None,
        ..*cold_start(json!({"overflow": "Placeholder", "placeholder": placeholder()})).unwrap()
    };
    assert!(!unlimited.holds());
}

#[test]
fn a_response_that_cannot_be_given_is_refused_by_field() {
    let table = [
        (json!({"statusCode": 101}), "statusCode: 101 is informational"),
        (
            json!({"statusCode": 99}),
            "statusCode: 99 is not a valid status; allowed: 200 to 599",
        ),
        (json!({"statusCode": 600}), "statusCode: 600"),
        (
            json!({"body": "a", "bodyFromConfigMap": {"name": "b"}}),
            "exclude each other",
        ),
        (
            json!({"body": "ä".repeat(32_769)}),
            "body: has 32769 characters; allowed: 32768",
        ),
        (
            json!({"bodyFromConfigMap": {"name": ""}}),
            "bodyFromConfigMap.name: is empty",
        ),
        (
            json!({"headers": {"a b": "c"}}),
            "headers: \"a b\" is not a valid header name",
        ),
        (json!({"headers": {"X-A": "a\r\nb: c"}}), "headers.X-A: "),
    ];
    for (response, expected) in table {
        let mut index = RouteIndex::default();
        let placeholder = json!({"coldStart": {"placeholder": {"response": response}}});
        apply(&mut index, &route("api", &to("api", &placeholder)));
        let errors = refused(&index, Kind::InterceptorRoute, "api");
        assert!(
            errors.len() == 1
                && errors[0].starts_with("spec.coldStart.placeholder.response")
                && errors[0].contains(expected),
            "{expected}: {errors:?}"
        );
    }
    let length = json!({"coldStart": {"placeholder": {"response": {"body": "ä".repeat(32_768)}}}});
    only(&route("api", &to("api", &length)));
}

#[test]
fn missing_parts_of_cold_starts_and_static_routes_are_named() {
    let table = [
        (
            json!({"coldStart": {"overflow": "Placeholder"}}),
            "spec.coldStart.overflow: Placeholder needs",
        ),
        (
            json!({"coldStart": {"maxPendingRequests": 0}}),
            "spec.coldStart.maxPendingRequests: 0 cannot be used",
        ),
        (
            json!({"coldStart": {"maxPendingRequests": -1}}),
            "spec.coldStart.maxPendingRequests: -1",
        ),
        (
            json!({"staticRoutes": [{"rules": [], "response": {}}]}),
            "spec.staticRoutes[0].rules: is empty",
        ),
        (
            json!({"staticRoutes": [{"rules": [{}, {"hosts": ["a b"]}], "response": {"statusCode": 1}}]}),
            "spec.staticRoutes[0].rules[1].hosts[0]: ",
        ),
        (
            json!({"sessionPersistence": {"type": "Cookie", "absoluteTimeout": "10ms"}}),
            "spec.sessionPersistence.absoluteTimeout: \"10ms\" is too short; allowed: 1s",
        ),
        (
            json!({"sessionPersistence": {"type": "Cookie", "cookie": {"name": "a=b"}}}),
            "spec.sessionPersistence.cookie.name: \"a=b\" is not a valid cookie name",
        ),
    ];
    for (spec, expected) in table {
        let mut index = RouteIndex::default();
        apply(&mut index, &route("api", &to("api", &spec)));
        let errors = refused(&index, Kind::InterceptorRoute, "api");
        assert!(
            errors.iter().any(|error| error.starts_with(expected)),
            "{expected}: {errors:?}"
        );
    }
}

#[test]
fn headers_about_the_connection_are_left_out_of_responses() {
    let headers = json!({"Content-Length": "3", "Transfer-Encoding": "chunked", "Connection": "close", "Content-Type": "", "X-A": "b"});
    let spec = json!({"coldStart": {"placeholder": {"response": {"headers": headers}}}});
    let route = only(&route("api", &to("api", &spec)));
    let kept = route.cold_start.unwrap().placeholder.unwrap().headers;
    assert_eq!((kept.len(), &kept["x-a"]), (1, &http::HeaderValue::from_static("b")));
}

#[test]
fn each_route_has_a_session_cookie_of_its_own() {
    let session = |given: Value| only(&route("api", &to("api", &json!({"sessionPersistence": given})))).session;
    let own = session(json!({"type": "Cookie", "absoluteTimeout": "1h", "cookie": {"name": "sticky"}}));
    let expected = Session {
        cookie: "sticky".into(),
        absolute_timeout: Some(Duration::from_secs(3600)),
    };
    assert_eq!(own, Some(Box::new(expected)));
    let default = session(json!({"type": "Cookie"})).unwrap();
    // The first four bytes of the SHA-256 of "shop/api".
    assert_eq!(
        (default.cookie.as_str(), default.absolute_timeout),
        ("keda-session-737a40b9", None)
    );
}

#[test]
fn an_http_scaled_object_becomes_a_route() {
    let spec = json!({
        "hosts": ["a.example.com", "b.example.com"], "pathPrefixes": ["/", "/v1"], "headers": [{"name": "x-team"}],
        "scaleTargetRef": {"service": "api", "port": 80},
        "coldStartTimeoutFailoverRef": {"service": "backup", "portName": "web"},
        "timeouts": {"conditionWait": "5s", "responseHeader": "0s"},
    });
    let route = only(&old("api", &spec));
    assert_eq!(
        (route.key.as_str(), route.rules.len(), route.rules[0].hosts.len()),
        ("shop/api", 1, 2)
    );
    assert_eq!(
        route.rules[0].paths,
        [PathMatch::Prefix(String::new()), PathMatch::Prefix("v1".into())]
    );
    assert_eq!(route.fallback, Some(service("backup", PortRef::Name("web".into()))));
    assert_eq!(
        route.timeouts,
        Timeouts {
            readiness: Some(Duration::from_secs(30)),
            ..Timeouts::default()
        }
    );
}

#[test]
fn the_failovers_timeout_takes_precedence_over_condition_wait() {
    let table = [
        (json!({"timeouts": {"conditionWait": "5s"}}), Some(5)),
        (json!({"timeouts": {"conditionWait": "0s"}}), None),
        (
            json!({"timeouts": {"conditionWait": "5s"}, "coldStartTimeoutFailoverRef": {"service": "b", "port": 1, "timeoutSeconds": 7}}),
            Some(7),
        ),
        (
            json!({"timeouts": {"conditionWait": "5s"}, "coldStartTimeoutFailoverRef": {"service": "b", "port": 1, "timeoutSeconds": 0}}),
            Some(5),
        ),
    ];
    for (mut spec, expected) in table {
        spec["scaleTargetRef"] = json!({"service": "api", "port": 80});
        assert_eq!(
            only(&old("api", &spec)).timeouts.readiness,
            expected.map(Duration::from_secs),
            "{spec}"
        );
    }
}

fn annotated(annotations: &Value) -> Value {
    let mut document = old("api", &json!({"scaleTargetRef": {"service": "api", "port": 80}}));
    document["metadata"]["annotations"] = annotations.clone();
    document
}

#[test]
fn kedifys_annotations_of_an_http_scaled_object_are_understood_as_in_its_trigger() {
    let route = only(&annotated(&json!({
        "http.kedify.io/traffic-autowire": "service", "http.kedify.io/fallback-service": "api-pods",
        "http.kedify.io/healthcheck-path": "/health", "http.kedify.io/healthcheck-response": "static",
    })));
    assert_eq!(route.upstream, service("api-pods", PortRef::Number(80)));
    assert_eq!(route.autowired, Some(service("api", PortRef::Number(80))));
    assert_eq!(
        (&route.replies[0].to, route.replies[0].when),
        (&Requests::Path("/health".into()), When::Always)
    );
    let route = only(&annotated(&json!({
        "http.kedify.io/traffic-autowire": "ingress", "http.kedify.io/fallback-service": "api-pods",
        "http.kedify.io/healthcheck-path": "/health",
    })));
    assert_eq!(
        (route.upstream, route.autowired),
        (service("api", PortRef::Number(80)), None)
    );
    assert_eq!(route.replies[0].when, When::WhileUnavailable);
}

#[test]
fn an_annotation_that_cannot_be_used_is_named() {
    let table = [
        (
            json!({"http.kedify.io/traffic-autowire": "service"}),
            "metadata.annotations.http.kedify.io/fallback-service: is missing",
        ),
        (
            json!({"http.kedify.io/traffic-autowire": "balloon"}),
            "metadata.annotations.http.kedify.io/traffic-autowire: trafficAutowire: \"balloon\" cannot be used",
        ),
        (
            json!({"http.kedify.io/healthcheck-path": "health"}),
            "metadata.annotations.http.kedify.io/healthcheck-path: healthcheckPath: \"health\" cannot be used",
        ),
        (
            json!({"http.kedify.io/healthcheck-response": "static"}),
            "metadata.annotations.http.kedify.io/healthcheck-path: healthcheckPath is missing",
        ),
    ];
    for (annotations, expected) in table {
        let mut index = RouteIndex::default();
        apply(&mut index, &annotated(&annotations));
        let errors = refused(&index, Kind::HttpScaledObject, "api");
        assert!(
            errors.len() == 1 && errors[0].starts_with(expected),
            "{expected}: {errors:?}"
        );
    }
}

#[test]
fn a_trigger_that_names_a_route_of_its_own_kind_makes_none() {
    for key in [
        "httpScaledObject",
        "interceptorRoute",
        "interceptorTargetPendingRequests",
    ] {
        let metadata =
            json!({"scalerAddress": "scaler:9090", key: "api", "hosts": "a", "scalingMetric": "concurrency"});
        let trigger = json!({"type": "external-push", "metadata": metadata});
        let mut index = RouteIndex::default();
        assert_eq!(apply(&mut index, &scaled("api", &json!([trigger]))), [""; 0], "{key}");
        assert!(index.refused().is_empty(), "{key}");
    }
}

#[test]
fn a_kedify_http_trigger_becomes_a_route() {
    let more =
        json!({"pathPrefixes": "/v1", "window": "10s", "healthcheckPath": "/health", "healthcheckResponse": "static"});
    let route = only(&scaled(
        "api",
        &json!([{"type": "cpu", "metadata": {"value": "50"}}, trigger("api", &more)]),
    ));
    assert_eq!(route.key.as_str(), "shop/api");
    assert_eq!(route.upstream, service("api", PortRef::Number(80)));
    assert_eq!(route.window, Duration::from_secs(10));
    assert_eq!(route.rules[0].hosts, [HostPattern::Exact("api.example.com".into())]);
    assert_eq!(
        route.replies,
        [Reply {
            to: Requests::Path("/health".into()),
            when: When::Always,
            response: StaticResponse::empty(StatusCode::OK),
        }]
    );
    let passthrough = only(&scaled(
        "api",
        &json!([trigger("api", &json!({"healthcheckPath": "/health"}))]),
    ));
    assert_eq!(passthrough.replies[0].when, When::WhileUnavailable);
}

#[test]
fn with_autowired_services_the_pods_are_the_fallback_services() {
    let more = json!({"trafficAutowire": "service", "fallbackService": "api-pods"});
    assert_eq!(
        only(&scaled("api", &json!([trigger("api", &more)]))).upstream,
        service("api-pods", PortRef::Number(80))
    );
}

#[test]
fn a_trigger_that_admission_has_rewritten_is_the_same_route() {
    let mut index = RouteIndex::default();
    assert_eq!(
        apply(&mut index, &scaled("api", &json!([trigger("api", &json!({}))]))),
        ["shop/api -> api"]
    );
    let mut rewritten = trigger("api", &json!({"scalerAddress": "scaler.keda:9090"}));
    rewritten["type"] = json!("external-push");
    assert_eq!(apply(&mut index, &scaled("api", &json!([rewritten]))), [""; 0]);
}

#[test]
fn triggers_of_others_make_no_routes() {
    let push = |metadata: Value| json!({"type": "external-push", "metadata": metadata});
    let triggers = json!([
        push(json!({"scalerAddress": "a:1", "interceptorRoute": "api"})),
        push(json!({"scalerAddress": "a:1", "httpScaledObject": "api", "hosts": "a", "scalingMetric": "concurrency"})),
        push(json!({"scalerAddress": "somebody-else:1"})),
        {"type": "cron", "metadata": {"timezone": "UTC"}},
    ]);
    let mut index = RouteIndex::default();
    assert_eq!(apply(&mut index, &scaled("api", &triggers)), [""; 0]);
    assert!(index.refused().is_empty());
}

#[test]
fn several_triggers_are_distinguished_by_name() {
    let mut index = RouteIndex::default();
    assert_eq!(
        apply(&mut index, &scaled("api", &json!([trigger("one", &json!({}))]))),
        ["shop/api -> one"]
    );
    let in_metadata = trigger("write", &json!({"kedifyTrigger": "write"}));
    let both = json!([named("read", trigger("read", &json!({}))), in_metadata]);
    assert_eq!(
        apply(&mut index, &scaled("api", &both)),
        ["shop/api gone", "shop/api:read -> read", "shop/api:write -> write"]
    );
    // Another object whose name begins alike is not touched.
    apply(&mut index, &scaled("api-2", &json!([trigger("two", &json!({}))])));
    assert_eq!(
        delete(&mut index, Kind::ScaledObject, "api"),
        ["shop/api:read gone", "shop/api:write gone"]
    );
    assert_eq!(delete(&mut index, Kind::ScaledObject, "api-2"), ["shop/api-2 gone"]);
}

#[test]
fn a_single_triggers_name_counts_only_where_the_scaler_sees_it() {
    let own = named("read", trigger("api", &json!({})));
    assert_eq!(only(&scaled("api", &json!([own]))).key.as_str(), "shop/api");
    let in_metadata = trigger("api", &json!({"kedifyTrigger": "read"}));
    assert_eq!(
        only(&scaled("api", &json!([in_metadata]))).key.as_str(),
        "shop/api:read"
    );
}

#[test]
fn a_trigger_without_a_name_of_its_own_is_refused_by_itself() {
    let mut index = RouteIndex::default();
    let triggers = json!([
        named("read", trigger("read", &json!({}))),
        trigger("write", &json!({})),
        named("read", trigger("again", &json!({})))
    ]);
    assert_eq!(apply(&mut index, &scaled("api", &triggers)), ["shop/api:read -> read"]);
    let fields: Vec<_> = index.refused()[&id(Kind::ScaledObject, "api")]
        .iter()
        .map(|error| error.field.clone())
        .collect();
    assert_eq!(fields, ["spec.triggers[1].name", "spec.triggers[2].name"]);
}

#[test]
fn an_invalid_trigger_affects_no_other_and_keeps_its_last_valid_route() {
    let mut index = RouteIndex::default();
    let both = |port: &str| {
        json!([
            named("a", trigger("a", &json!({"port": port}))),
            named("b", trigger("b", &json!({"targetValue": port})))
        ])
    };
    assert_eq!(
        apply(&mut index, &scaled("api", &both("80"))),
        ["shop/api:a -> a", "shop/api:b -> b"]
    );
    let one_bad = json!([
        named("a", trigger("a", &json!({"port": "none"}))),
        named("b", trigger("c", &json!({})))
    ]);
    assert_eq!(apply(&mut index, &scaled("api", &one_bad)), ["shop/api:b -> c"]);
    let errors = refused(&index, Kind::ScaledObject, "api");
    assert!(
        errors.len() == 1 && errors[0].starts_with("spec.triggers[0].metadata: port: \"none\""),
        "{errors:?}"
    );
    assert_eq!(
        apply(&mut index, &scaled("api", &both("81"))),
        ["shop/api:a -> a", "shop/api:b -> b"]
    );
    assert!(index.refused().is_empty());
    assert_eq!(delete(&mut index, Kind::ScaledObject, "api").len(), 2);
}

#[test]
fn every_error_in_an_interceptor_route_names_its_field() {
    let spec = json!({
        "target": {"service": "", "port": 70000},
        "rules": [
            {"hosts": ["good.example.com", "bad host"]},
            {"headers": [{"name": "no good"}]},
        ],
        "scalingMetric": {"concurrency": {"targetValue": 0}, "requestRate": {"targetValue": 1, "window": "1s", "granularity": "1m"}},
        "timeouts": {"readiness": "soon"},
        "coldStart": {"fallback": {"service": {"name": "b"}}},
    });
    let mut index = RouteIndex::default();
    assert_eq!(apply(&mut index, &route("api", &spec)), [""; 0]);
    let fields: Vec<_> = index.refused()[&id(Kind::InterceptorRoute, "api")]
        .iter()
        .map(|error| error.field.as_str())
        .collect();
    let expected = [
        "spec.target.service",
        "spec.target.port",
        "spec.scalingMetric.concurrency.targetValue",
        "spec.scalingMetric.requestRate.window",
        "spec.coldStart.fallback.service",
        "spec.timeouts.readiness",
        "spec.rules[0].hosts[1]",
        "spec.rules[1].headers[0].name",
    ];
    assert_eq!(fields, expected);
}

#[test]
fn an_empty_host_is_refused_and_does_not_match_every_host() {
    let reason = "\"\" is not a valid host; allowed: a host name, *.suffix, or *";
    for (hosts, at) in [
        (json!([""]), 0),
        (json!(["", "a.example"]), 0),
        (json!(["a.example", " "]), 1),
    ] {
        let reason = reason.replace("\"\"", &hosts[at].to_string());
        let mut index = RouteIndex::default();
        assert_eq!(
            apply(
                &mut index,
                &route("api", &to("api", &json!({"rules": [{"hosts": hosts}]})))
            ),
            [""; 0]
        );
        let target = json!({"name": "api", "service": "api", "port": 80});
        let http = old("api", &json!({"hosts": hosts, "scaleTargetRef": target}));
        assert_eq!(apply(&mut index, &http), [""; 0]);
        assert_eq!(
            refused(&index, Kind::InterceptorRoute, "api"),
            [format!("spec.rules[0].hosts[{at}]: {reason}")]
        );
        assert_eq!(
            refused(&index, Kind::HttpScaledObject, "api"),
            [format!("spec.hosts[{at}]: {reason}")]
        );
    }
    for hosts in ["", " ", ","] {
        let mut index = RouteIndex::default();
        let metadata = json!({"hosts": hosts, "scalingMetric": "concurrency", "service": "api", "port": "80"});
        let trigger = json!({"type": "kedify-http", "metadata": metadata});
        assert_eq!(
            apply(&mut index, &scaled("api", &json!([trigger]))),
            [""; 0],
            "{hosts:?}"
        );
        let errors = refused(&index, Kind::ScaledObject, "api");
        assert!(errors.iter().any(|error| error.contains("hosts")), "{errors:?}");
    }
}

#[test]
fn invalid_values_are_refused_with_what_is_allowed() {
    let table = [
        (
            json!({"target": {"service": "a"}}),
            "spec.target: port or portName is missing; give one of them",
        ),
        (
            json!({"target": {"service": "a", "port": 1, "portName": "b"}}),
            "spec.target: port and portName exclude each other; give one of them",
        ),
        (
            json!({"target": {"service": "a", "port": 0}}),
            "spec.target.port: 0 is not a valid port; allowed: 1 to 65535",
        ),
        (
            json!({"scalingMetric": {}}),
            "spec.scalingMetric: is empty; give concurrency, requestRate or both",
        ),
        (
            json!({"scalingMetric": {"requestRate": {"targetValue": 1, "granularity": "0s"}}}),
            "spec.scalingMetric.requestRate.granularity: it must be longer than 0",
        ),
        (
            json!({"scalingMetric": {"requestRate": {"targetValue": 1, "window": "1s", "granularity": "1m"}}}),
            "spec.scalingMetric.requestRate.window: the window must be at least as long as the granularity (1m0s)",
        ),
    ];
    for (more, expected) in table {
        let mut index = RouteIndex::default();
        apply(&mut index, &route("api", &to("a", &more)));
        assert_eq!(refused(&index, Kind::InterceptorRoute, "api"), [expected]);
    }
}

#[test]
fn a_refused_object_keeps_its_last_good_route_until_it_is_deleted() {
    let mut index = RouteIndex::default();
    assert_eq!(
        apply(&mut index, &route("api", &to("a", &json!({})))),
        ["shop/api -> a"]
    );
    let bad = route("api", &to("b", &json!({"timeouts": {"request": "1"}})));
    assert_eq!(apply(&mut index, &bad), [""; 0]);
    assert_eq!(index.refused().len(), 1);
    assert_eq!(
        told(&index.update(&Change::Reset(Kind::InterceptorRoute, vec![object(&bad)]))),
        [""; 0]
    );
    assert_eq!(delete(&mut index, Kind::InterceptorRoute, "api"), ["shop/api gone"]);
    assert!(index.refused().is_empty());
}

#[test]
fn objects_that_change_no_route_report_nothing() {
    let mut index = RouteIndex::default();
    let mut document = route("api", &to("a", &json!({})));
    assert_eq!(apply(&mut index, &document), ["shop/api -> a"]);
    document["metadata"]["labels"] = json!({"team": "a"});
    document["status"] = json!({"conditions": []});
    assert_eq!(apply(&mut index, &document), [""; 0]);
    let pods = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "api", "namespace": "shop"}});
    assert_eq!(apply(&mut index, &pods), [""; 0]);
    assert_eq!(delete(&mut index, Kind::Service, "api"), [""; 0]);
}

#[test]
fn the_same_name_is_used_in_the_order_of_kinds() {
    let mut index = RouteIndex::default();
    let old = old("api", &json!({"scaleTargetRef": {"service": "old", "port": 80}}));
    assert_eq!(
        apply(&mut index, &scaled("api", &json!([trigger("scaled", &json!({}))]))),
        ["shop/api -> scaled"]
    );
    assert_eq!(
        apply(&mut index, &route("api", &to("new", &json!({})))),
        ["shop/api -> new"]
    );
    assert_eq!(apply(&mut index, &old), [""; 0]);
    assert_eq!(delete(&mut index, Kind::InterceptorRoute, "api"), ["shop/api -> old"]);
    assert_eq!(
        delete(&mut index, Kind::HttpScaledObject, "api"),
        ["shop/api -> scaled"]
    );
    assert_eq!(delete(&mut index, Kind::ScaledObject, "api"), ["shop/api gone"]);
    assert!(index.candidates.is_empty());
}

#[test]
fn a_reset_removes_objects_missing_in_it() {
    let mut index = RouteIndex::default();
    apply(&mut index, &route("a", &to("a", &json!({}))));
    apply(&mut index, &route("b", &to("b", &json!({}))));
    apply(&mut index, &route("bad", &to("", &json!({}))));
    apply(
        &mut index,
        &scaled(
            "s",
            &json!([
                named("x", trigger("x", &json!({}))),
                named("y", trigger("y", &json!({})))
            ]),
        ),
    );
    let rest = vec![
        object(&route("b", &to("b", &json!({})))),
        object(&route("c", &to("c", &json!({})))),
    ];
    assert_eq!(
        told(&index.update(&Change::Reset(Kind::InterceptorRoute, rest))),
        ["shop/a gone", "shop/c -> c"]
    );
    assert!(index.refused().is_empty());
    assert_eq!(
        told(&index.update(&Change::Reset(Kind::ScaledObject, Vec::new()))),
        ["shop/s:x gone", "shop/s:y gone"]
    );
}

/// Few names, so that changes meet; all are valid, for the last good route of a refused one is a trace of the past.
fn any_document() -> impl Strategy<Value = Value> {
    let name = || prop::sample::select(vec!["a", "b"]);
    let to_service = || prop::sample::select(vec!["x", "y"]);
    let triggers = prop::collection::btree_map(prop::sample::select(vec!["r", "w"]), to_service(), 0..3);
    prop_oneof![
        (name(), to_service()).prop_map(|(name, service)| route(name, &to(service, &json!({})))),
        (name(), to_service())
            .prop_map(|(name, service)| old(name, &json!({"scaleTargetRef": {"service": service, "port": 80}}))),
        (name(), triggers).prop_map(|(name, triggers)| {
            let triggers = triggers
                .into_iter()
                .map(|(name, service)| named(name, trigger(service, &json!({}))));
            scaled(name, &triggers.collect())
        }),
    ]
}

proptest! {
    #[test]
    fn the_order_of_changes_leaves_no_trace_and_every_change_is_told(steps in prop::collection::vec((any_document(), 0..4_u8), 1..40)) {
        let mut index = RouteIndex::default();
        let mut living = HashMap::new();
        let mut heard = BTreeMap::new();
        for (document, step) in steps {
            let object = object(&document);
            let change = if step == 0 {
                living.remove(&object.id());
                Change::Delete(object.id())
            } else {
                living.insert(object.id(), object.clone());
                Change::Apply(object)
            };
            for change in index.update(&change) {
                match change {
                    RouteChange::Set(route) => heard.insert(route.key.clone(), route),
                    RouteChange::Remove(key) => heard.remove(&key),
                };
            }
            let mut fresh = RouteIndex::default();
            for kind in [Kind::ScaledObject, Kind::HttpScaledObject, Kind::InterceptorRoute] {
                fresh.update(&Change::Reset(kind, living.values().filter(|object| object.kind() == kind).cloned().collect()));
            }
            prop_assert_eq!(&heard, &in_force(&fresh));
            prop_assert_eq!(&in_force(&index), &in_force(&fresh));
        }
    }
}

fn in_force(index: &RouteIndex) -> BTreeMap<TargetKey, Arc<Route>> {
    index
        .candidates
        .iter()
        .map(|(key, candidates)| (key.clone(), candidates.first().unwrap().clone()))
        .collect()
}

#[test]
fn path_prefixes_of_all_kinds_are_written_alike() {
    let rules = json!([{"paths": [{"value": " /v1/ "}]}]);
    let spec = json!({"target": {"service": "api", "port": 80}, "rules": rules, "scalingMetric": {"concurrency": {"targetValue": 1}}});
    assert_eq!(only(&route("api", &spec)).rules[0].paths, [PathMatch::prefix("v1")]);
}

#[test]
fn fault_c2_an_object_with_an_unknown_field_is_refused_and_takes_no_requests() {
    let mut index = RouteIndex::default();
    let metric = json!({"concurrency": {"targetValue": 1}});
    let spec =
        |rules: Value| json!({"target": {"service": "api", "port": 80}, "rules": rules, "scalingMetric": metric});
    assert_eq!(
        apply(&mut index, &route("api", &spec(json!([{"host": "a.test"}])))),
        [""; 0]
    );
    assert_eq!(
        refused(&index, Kind::InterceptorRoute, "api"),
        ["spec.rules[0].host: unknown field; did you mean \"hosts\"? allowed: headers, hosts, paths"]
    );
    assert_eq!(
        apply(&mut index, &route("api", &spec(json!([{"hosts": ["a.test"]}])))),
        ["shop/api -> api"]
    );
    assert_eq!(
        apply(&mut index, &route("api", &spec(json!([{"host": "b.test"}])))),
        [""; 0],
        "the last good route stays"
    );
    let former = json!({"host": "a.test", "scaleTargetRef": {"deployment": "old", "service": "old", "port": 80}});
    assert_eq!(apply(&mut index, &old("old", &former)), [""; 0]);
    assert_eq!(refused(&index, Kind::HttpScaledObject, "old").len(), 2);
    assert_eq!(
        apply(
            &mut index,
            &old(
                "old",
                &json!({"hosts": ["a.test"], "scaleTargetRef": {"name": "old", "service": "old", "port": 80}})
            )
        ),
        ["shop/old -> old"]
    );
}
