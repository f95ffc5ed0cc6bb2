#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use keda_http_core::trigger::RateTarget;
use serde_json::{Value, json};

use super::*;
use crate::source::Change;

fn route(name: &str, metric: &Value) -> Object {
    let document = json!({
        "apiVersion": "http.keda.sh/v1beta1", "kind": "InterceptorRoute", "metadata": {"name": name, "namespace": "shop"},
        "spec": {"target": {"service": "api", "port": 80}, "scalingMetric": metric},
    });
    Object::parse(&document).unwrap().unwrap()
}

fn old(spec: Value) -> Object {
    let mut spec = spec;
    spec["scaleTargetRef"] = json!({"service": "api", "port": 80});
    let document = json!({
        "apiVersion": "http.keda.sh/v1alpha1", "kind": "HTTPScaledObject", "metadata": {"name": "api", "namespace": "shop"},
        "spec": spec,
    });
    Object::parse(&document).unwrap().unwrap()
}

fn rate(value: f64, window: u64, granularity: u64) -> Option<RateTarget> {
    Some(RateTarget {
        value,
        window: Duration::from_secs(window),
        granularity: Duration::from_secs(granularity),
    })
}

fn changed(index: &mut ScalingIndex, change: &Change) -> bool {
    !index.update(change).is_empty()
}

#[test]
fn an_interceptor_route_may_be_scaled_by_both() {
    let table = [
        (
            json!({"concurrency": {"targetValue": 5}}),
            Scaling {
                concurrency: Some(5.0),
                rate: None,
            },
        ),
        (
            json!({"requestRate": {"targetValue": 5}}),
            Scaling {
                concurrency: None,
                rate: rate(5.0, 60, 1),
            },
        ),
        (
            json!({"concurrency": {"targetValue": 5}, "requestRate": {"targetValue": 7, "window": "10m", "granularity": "1m"}}),
            Scaling {
                concurrency: Some(5.0),
                rate: rate(7.0, 600, 60),
            },
        ),
    ];
    for (metric, expected) in table {
        let mut index = ScalingIndex::default();
        assert!(changed(&mut index, &Change::Apply(route("api", &metric))));
        assert_eq!(index.interceptor_route("shop", "api"), Some(expected));
        assert_eq!(index.http_scaled_object("shop", "api"), None);
    }
}

#[test]
fn an_http_scaled_object_is_scaled_by_one_in_upstreams_order() {
    let concurrency = |value| Scaling {
        concurrency: Some(value),
        rate: None,
    };
    let table = [
        (json!({}), concurrency(100.0)),
        (json!({"targetPendingRequests": 7}), concurrency(7.0)),
        (
            json!({"targetPendingRequests": 7, "scalingMetric": {"concurrency": {"targetValue": 3}}}),
            concurrency(3.0),
        ),
        (json!({"scalingMetric": {"concurrency": {}}}), concurrency(100.0)),
        (
            json!({"scalingMetric": {"concurrency": {"targetValue": 3}, "requestRate": {}}}),
            Scaling {
                concurrency: None,
                rate: rate(100.0, 60, 1),
            },
        ),
    ];
    for (spec, expected) in table {
        let mut index = ScalingIndex::default();
        changed(&mut index, &Change::Apply(old(spec)));
        assert_eq!(index.http_scaled_object("shop", "api"), Some(expected));
    }
}

#[test]
fn an_invalid_object_keeps_its_last_valid_scaling() {
    let mut index = ScalingIndex::default();
    let good = json!({"concurrency": {"targetValue": 5}});
    assert!(changed(&mut index, &Change::Apply(route("api", &good))));
    assert!(!changed(&mut index, &Change::Apply(route("api", &good))));
    let zero = |window: &str, granularity: &str| json!({"requestRate": {"targetValue": 1, "window": window, "granularity": granularity}});
    for bad in [
        json!({}),
        json!({"concurrency": {"targetValue": 0}}),
        zero("1m", "0s"),
        zero("1s", "2s"),
        zero("soon", "1s"),
    ] {
        assert!(!changed(&mut index, &Change::Apply(route("api", &bad))), "{bad}");
        assert_eq!(index.interceptor_route("shop", "api").unwrap().concurrency, Some(5.0));
    }
}

#[test]
fn deletes_and_resets_take_away_and_tell_so() {
    let mut index = ScalingIndex::default();
    let metric = json!({"concurrency": {"targetValue": 5}});
    changed(
        &mut index,
        &Change::Reset(Kind::InterceptorRoute, vec![route("a", &metric), route("b", &metric)]),
    );
    assert!(!changed(
        &mut index,
        &Change::Reset(Kind::InterceptorRoute, vec![route("a", &metric), route("b", &metric)])
    ));
    assert!(changed(
        &mut index,
        &Change::Reset(Kind::InterceptorRoute, vec![route("a", &metric)])
    ));
    assert!(index.interceptor_route("shop", "b").is_none());
    let id = |kind| ObjectId {
        kind,
        namespace: "shop".into(),
        name: "a".into(),
    };
    assert!(!changed(&mut index, &Change::Delete(id(Kind::HttpScaledObject))));
    assert!(!changed(&mut index, &Change::Reset(Kind::Service, Vec::new())));
    assert!(changed(&mut index, &Change::Delete(id(Kind::InterceptorRoute))));
    assert!(index.interceptor_route("shop", "a").is_none());
}
