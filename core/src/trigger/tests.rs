#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::route::header::HeaderValueMatch;

/// The tutorial's trigger, and what a test changes: an empty value takes a key out.
fn with<'a>(changes: &[(&'a str, &'a str)]) -> BTreeMap<&'a str, &'a str> {
    let mut metadata = BTreeMap::from([
        ("hosts", "otel-tracing-server"),
        ("service", "otel-tracing-server"),
        ("port", "8080"),
        ("scalingMetric", "requestRate"),
        ("targetValue", "1"),
        ("granularity", "1s"),
        ("window", "10s"),
        ("trafficAutowire", "service"),
        ("fallbackService", "otel-tracing-server-fallback"),
    ]);
    metadata.extend(changes.iter().copied());
    metadata
}

fn read(changes: &[(&str, &str)]) -> Result<KedifyHttp, TriggerError> {
    match Trigger::from_metadata(with(changes))? {
        Trigger::KedifyHttp(trigger) => Ok(*trigger),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_tutorials_trigger_is_understood() {
    let trigger = read(&[]).unwrap();
    assert_eq!(trigger.hosts, [HostPattern::Exact("otel-tracing-server".into())]);
    assert_eq!(trigger.paths, [PathMatch::prefix("/")]);
    assert_eq!(trigger.port, PortRef::Number(8080));
    assert_eq!(trigger.autowire, Autowire::Service);
    let rate = trigger.scaling.rate.unwrap();
    assert_eq!(
        (rate.value, rate.window, rate.granularity),
        (1.0, Duration::from_secs(10), Duration::from_secs(1))
    );
    assert_eq!(trigger.scaling.activity_window(), Duration::from_secs(10));
    assert!(trigger.warnings.is_empty());
}

#[test]
fn missing_keys_have_the_documented_defaults() {
    let trigger = read(&[
        ("targetValue", ""),
        ("granularity", ""),
        ("window", ""),
        ("trafficAutowire", ""),
    ])
    .unwrap();
    let rate = trigger.scaling.rate.unwrap();
    assert_eq!(
        (rate.value, rate.window, rate.granularity),
        (100.0, Duration::from_secs(60), Duration::from_secs(1))
    );
    assert_eq!(trigger.autowire, Autowire::Unset);
}

#[test]
fn errors_name_the_key_the_value_and_what_is_allowed() {
    type Changes = &'static [(&'static str, &'static str)];
    let table: [(Changes, &[&str]); 23] = [
        (&[("hosts", "")], &["hosts is missing", "at least one host"]),
        (&[("hosts", "a b")], &["hosts", "a b", "allowed"]),
        (&[("hosts", ", ,")], &["hosts", "at least one"]),
        (&[("service", "")], &["service is missing"]),
        (&[("port", "")], &["port is missing", "portName"]),
        (&[("port", "http")], &["port", "\"http\"", "1 to 65535"]),
        (&[("port", "0")], &["port", "\"0\""]),
        (&[("portName", "http")], &["port and portName exclude each other"]),
        (&[("scalingMetric", "")], &["scalingMetric is missing"]),
        (
            &[("scalingMetric", "rps")],
            &["scalingMetric", "\"rps\"", "requestRate or concurrency"],
        ),
        (&[("targetValue", "0")], &["targetValue", "\"0\"", "greater than 0"]),
        (&[("targetValue", "NaN")], &["targetValue", "NaN"]),
        (&[("granularity", "0s")], &["granularity", "\"0s\"", "longer than 0"]),
        (&[("granularity", "1")], &["granularity", "\"1\"", "units"]),
        (
            &[("window", "500ms")],
            &["window", "\"500ms\"", "at least as long as the granularity (1s)"],
        ),
        (&[("window", "1000h")], &["window", "\"1000h\"", "at most 100000 times"]),
        (
            &[("trafficAutowire", "false,ingress")],
            &["trafficAutowire", "cannot be combined"],
        ),
        (
            &[("trafficAutowire", "service,ingress")],
            &["trafficAutowire", "excludes"],
        ),
        (
            &[("trafficAutowire", "balloon")],
            &["trafficAutowire", "balloon", "httproute"],
        ),
        (&[("fallbackService", "")], &["fallbackService is missing"]),
        (&[("healthcheckResponse", "static")], &["healthcheckPath is missing"]),
        (&[("pathRegex", "/a)|(?:/b")], &["pathRegex", "regular expression"]),
        (&[("pathRegex", "(")], &["pathRegex", "\"(\"", "regular expression"]),
    ];
    for (changes, expected) in table {
        let message = read(changes).unwrap_err().to_string();
        for part in expected {
            assert!(message.contains(part), "{part:?} in {message:?}");
        }
    }
}

#[test]
fn headers_whose_aliases_repeat_too_much_are_refused_before_all_are_read() {
    let entries: String = (0..50)
        .map(|i| format!("- &h{i} {{name: x, value: {}}}\n", "v".repeat(1_000)))
        .collect();
    let bomb = entries + &"- *h0\n".repeat(400);
    let message = read(&[("headers", &bomb)]).unwrap_err().to_string();
    assert!(
        message.starts_with("headers: ") && !message.contains("450 entries"),
        "{message}"
    );
}

#[test]
fn headers_are_yaml_or_json() {
    let yaml = "- name: X-Version\n  value: v2\n- name: x-any\n- name: x-wild\n  valueWildcard: 'a*'\n- name: x-regex\n  valueRegex: v[0-9]+\n";
    let trigger = read(&[("headers", yaml)]).unwrap();
    let values: Vec<_> = trigger
        .headers
        .iter()
        .map(|header| (header.name.as_str(), header.value.clone()))
        .collect();
    assert_eq!(values[0], ("x-version", HeaderValueMatch::Exact("v2".into())));
    assert_eq!(values[1], ("x-any", HeaderValueMatch::Present));
    assert_eq!(values[2], ("x-wild", HeaderValueMatch::wildcard("a*").unwrap()));
    assert_eq!(values[3], ("x-regex", HeaderValueMatch::regex("v[0-9]+").unwrap()));
    let json = read(&[("headers", r#"[{"name":"x-version","value":"v2"}]"#)]).unwrap();
    assert_eq!(json.headers[0], trigger.headers[0]);
    for bad in [
        "x: y",
        "- value: v2",
        "- name: 'a b'",
        "- {name: a, value: b, valueRegex: c}",
        "- {name: a, valueRegex: '('}",
        "- {name: a, colour: red}",
        "- {name: a, valueRegex: '.*a(?:a|b|c){20000}c'}",
        &"- {name: a}\n".repeat(17),
    ] {
        let message = read(&[("headers", bad)]).unwrap_err().to_string();
        assert!(message.starts_with("headers: "), "{message}");
    }
}

#[test]
fn autowire_kinds_are_read_without_case_and_spaces() {
    let autowire = |text: &str| read(&[("trafficAutowire", text)]).unwrap().autowire;
    assert_eq!(
        autowire(" HTTPRoute , ingress"),
        Autowire::Kinds(vec![AutowireKind::HttpRoute, AutowireKind::Ingress])
    );
    assert_eq!(autowire("False"), Autowire::Off);
}

#[test]
fn keys_of_later_features_and_unknown_keys_cause_warnings() {
    let trigger = read(&[
        ("tlsSecretName", "cert"),
        ("colour", "red"),
        ("scalerAddress", "x:1"),
        ("healthcheckResponse", "pathEmbeddedHost"),
    ]);
    let expected = [
        "colour: this key is not known and has no effect",
        "tlsSecretName: this key is not supported yet and has no effect",
        "healthcheckResponse: pathEmbeddedHost is not supported yet and has no effect",
    ];
    assert_eq!(trigger.unwrap().warnings, expected);
}

#[test]
fn keys_for_keda_and_the_scaler_cause_no_warning() {
    let keys = [
        "scalerAddress",
        "interceptorRoute",
        "httpScaledObject",
        "interceptorTargetPendingRequests",
        "kedifyTrigger",
        "enableTLS",
        "unsafeSsl",
        "caCert",
        "tlsCertFile",
        "tlsClientCert",
        "tlsClientKey",
    ];
    let metadata = with(&keys.map(|key| (key, "1")));
    assert_eq!(
        KedifyHttp::from_metadata(metadata).unwrap().warnings,
        Vec::<String>::new()
    );
}

#[test]
fn arrivals_keep_a_target_active_for_the_longest_of_its_windows() {
    let rate = |seconds| RateTarget {
        value: 1.0,
        window: Duration::from_secs(seconds),
        granularity: Duration::from_secs(1),
    };
    let table = [
        (Some(rate(60)), None, 60),
        (Some(rate(2)), None, 2),
        (Some(rate(60)), Some(1.0), 60),
        (Some(rate(2)), Some(1.0), 10),
        (None, Some(1.0), 10),
    ];
    for (rate, concurrency, seconds) in table {
        let scaling = Scaling { concurrency, rate };
        assert_eq!(scaling.activity_window(), Duration::from_secs(seconds), "{scaling:?}");
    }
}

#[test]
fn concurrency_has_no_window_but_lingers() {
    let trigger = read(&[("scalingMetric", "concurrency")]).unwrap();
    assert_eq!(trigger.scaling.concurrency, Some(1.0));
    assert_eq!(trigger.scaling.activity_window(), Duration::from_secs(10));
    assert_eq!(trigger.warnings.len(), 2, "window and granularity have no effect");
}

#[test]
fn health_checks_are_passed_through_by_default() {
    let check = |changes: &[(&'static str, &'static str)]| read(changes).unwrap().healthcheck.unwrap().response;
    assert_eq!(
        check(&[("healthcheckPath", "/health")]),
        HealthcheckResponse::Passthrough
    );
    assert_eq!(
        check(&[("healthcheckPath", "/health"), ("healthcheckResponse", "static")]),
        HealthcheckResponse::Static
    );
}

#[test]
fn the_subject_is_decided_by_upstreams_precedence() {
    let subject = |keys: &[(&'static str, &'static str)]| Trigger::from_metadata(keys.iter().copied());
    let all = [
        ("hosts", "a"),
        ("interceptorTargetPendingRequests", "200"),
        ("httpScaledObject", "h"),
        ("interceptorRoute", "i"),
    ];
    assert_eq!(subject(&all).unwrap(), Trigger::InterceptorRoute("i".into()));
    assert_eq!(subject(&all[..3]).unwrap(), Trigger::HttpScaledObject("h".into()));
    assert_eq!(subject(&all[..2]).unwrap(), Trigger::InterceptorPending(200.0));
    assert!(matches!(subject(&all[..1]), Err(error) if error.to_string().contains("missing")));
    let message = subject(&[("scalerAddress", "a:1")]).unwrap_err().to_string();
    assert!(
        message.contains("interceptorRoute") && message.contains("found: scalerAddress"),
        "{message}"
    );
}

proptest! {
    #[test]
    fn no_metadata_is_a_surprise(values in proptest::collection::vec("[a-z0-9*?,./:(){}\\[\\] -]{0,12}", 15)) {
        let keys = ["hosts", "pathPrefixes", "pathRegex", "headers", "service", "port", "portName", "fallbackService", "scalingMetric",
            "targetValue", "granularity", "window", "trafficAutowire", "healthcheckPath", "healthcheckResponse"];
        let _ = Trigger::from_metadata(keys.into_iter().zip(values.iter().map(String::as_str)));
    }
}
