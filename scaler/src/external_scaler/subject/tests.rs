use super::*;

use std::time::Duration;

use keda_http_core::trigger::RateTarget;

fn both() -> Scaling {
    let rate = RateTarget {
        value: 50.0,
        window: Duration::from_secs(60),
        granularity: Duration::from_secs(1),
    };
    Scaling {
        concurrency: Some(5.0),
        rate: Some(rate),
    }
}

fn names(subject: &CallSubject) -> Vec<(&str, f64, bool)> {
    subject
        .metrics
        .iter()
        .map(|metric| (metric.name.as_str(), metric.target, metric.integers_only))
        .collect()
}

fn key(subject: &CallSubject) -> &str {
    match &subject.scope {
        ActivityScope::Target { key, .. } => key.as_str(),
        ActivityScope::Everything => "everything",
    }
}

fn kedify(metadata: &[(&str, &str)]) -> CallSubject {
    let base = [
        ("hosts", "a.example"),
        ("service", "api"),
        ("port", "80"),
        ("scalingMetric", "requestRate"),
    ];
    let metadata = base
        .iter()
        .chain(metadata)
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let call = ScaledObjectRef {
        name: "api".into(),
        namespace: "shop".into(),
        scaler_metadata: metadata.collect(),
    };
    CallSubject::resolve(&call, &ScalingObjects::none()).unwrap()
}

#[test]
fn an_interceptor_route_has_a_metric_for_each_of_concurrency_and_rate() {
    let subject = CallSubject::interceptor_route("shop", "api", both());
    assert_eq!(key(&subject), "shop/api");
    assert_eq!(
        names(&subject),
        [("http_api_concurrency", 5.0, false), ("http_api_rate", 50.0, false)]
    );
}

#[test]
fn an_http_scaled_object_has_one_metric_and_the_rate_goes_first() {
    let subject = CallSubject::http_scaled_object("shop", "api", both());
    assert_eq!(names(&subject), [("http-shop_002Fapi", 50.0, true)]);
    assert!(matches!(subject.metrics[0].measure, Measure::Rate { .. }));
    let subject = CallSubject::http_scaled_object("shop", "api", Scaling { rate: None, ..both() });
    assert_eq!(names(&subject), [("http-shop_002Fapi", 5.0, true)]);
    assert_eq!(
        subject.metrics[0].measure,
        Measure::Concurrency(TargetKey::object("shop", "api"))
    );
}

#[test]
fn the_interceptors_own_scaling_is_named_after_the_scaled_object() {
    let subject = CallSubject::interceptor("keda", "interceptor", 200.0);
    assert_eq!(names(&subject), [("http-keda_002Finterceptor", 200.0, false)]);
    assert_eq!(subject.scope, ActivityScope::Everything);
}

#[test]
fn one_of_several_triggers_has_its_name_in_key_and_metric() {
    let single = kedify(&[]);
    assert_eq!(
        (key(&single), names(&single)),
        ("shop/api", vec![("http_api_rate", 100.0, false)])
    );
    let several = kedify(&[("kedifyTrigger", "read/all"), ("targetValue", "7")]);
    assert_eq!(
        (key(&several), names(&several)),
        ("shop/api:read/all", vec![("http_api_read_002Fall_rate", 7.0, false)])
    );
}

#[test]
fn values_are_rounded_up_so_that_some_demand_is_never_none() {
    assert_eq!([0.0, 0.01, 1.0, 1.2].map(round_up), [0, 1, 1, 2]);
    assert_eq!(round_up(f64::MAX), i64::MAX);
}
