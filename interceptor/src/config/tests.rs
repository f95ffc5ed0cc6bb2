#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use keda_http_runtime::env::{EnvError, Environment};
use keda_http_runtime::settings::{self, Status, describe};

use super::*;

/// The least that is needed, and what a test adds.
fn read(variables: &[(&str, &str)]) -> Result<Config, EnvError> {
    let manifests = std::env::temp_dir();
    let least = [
        ("KEDA_HTTP_PROXY_PORT", "8080"),
        ("KEDA_HTTP_ADMIN_PORT", "9090"),
        ("KEDA_HTTP_MANIFESTS", manifests.to_str().unwrap()),
    ];
    read_all(least.into_iter().chain(variables.iter().copied()))
}

fn read_all<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Config, EnvError> {
    Ok(settings::read(&Environment::of(variables), Config::read)?.0)
}

#[test]
fn the_defaults_are_upstreams() {
    let config = read(&[]).unwrap();
    assert_eq!(config.listen.metrics_port, Some(2223));
    assert_eq!(config.timeouts.request, None);
    assert_eq!(config.timeouts.response_header, Some(Duration::from_secs(300)));
    assert_eq!(config.timeouts.connect, Duration::from_millis(500));
    assert_eq!(config.shutdown.delay, Duration::from_secs(5));
    assert_eq!(config.shutdown.drain, Some(Duration::from_secs(30)));
    assert_eq!(config.upstream.max_idle_per_endpoint, 200);
    assert!(config.responses.cold_start_header && !config.responses.log_requests);
}

#[test]
fn what_cannot_be_used_is_named_with_its_value_and_what_is_allowed() {
    let table = [
        ("KEDA_HTTP_PROXY_PORT", "eighty"),
        ("KEDA_HTTP_CONNECT_TIMEOUT", "5"),
        ("KEDA_HTTP_DRAIN_TIMEOUT", "-1s"),
        ("KEDA_HTTP_LOG_REQUESTS", "yes"),
        ("KEDA_HTTP_WORKERS", "0"),
        ("KEDA_HTTP_BIND_ADDRESS", "localhost"),
        ("KEDA_HTTP_MANIFESTS", "/no/such/directory"),
        ("OTEL_PROM_EXPORTER_PORT", "70000"),
        ("KEDA_HTTP_COLD_START_MAX_PENDING_REQUESTS", "many"),
        ("KEDA_HTTP_DIRECT_POD_ROUTING", "sometimes"),
    ];
    for (name, value) in table {
        let error = read(&[(name, value)]).unwrap_err().to_string();
        assert!(
            error.contains(name) && error.contains(value) && error.contains("must be"),
            "{error}"
        );
    }
}

#[test]
fn how_many_requests_a_route_may_hold() {
    let limit = |text| {
        let config = read(&[("KEDA_HTTP_COLD_START_MAX_PENDING_REQUESTS", text)]).unwrap();
        config.cold_start.max_pending.map(u32::from)
    };
    assert_eq!(
        (limit("100"), limit("0"), limit("-1"), limit("")),
        (Some(100), None, None, None)
    );
}

#[test]
fn tls_that_is_switched_on_is_not_passed_over() {
    let error = read(&[("KEDA_HTTP_PROXY_TLS_ENABLED", "true")])
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("KEDA_HTTP_PROXY_TLS_ENABLED=\"true\"") && error.contains("TLS is not supported yet"),
        "{error}"
    );
    for off in ["false", ""] {
        let others = [
            ("KEDA_HTTP_PROXY_TLS_ENABLED", off),
            ("KEDA_HTTP_PROXY_TLS_PORT", "8443"),
            ("KEDA_HTTP_PROXY_TLS_CERT_PATH", "/certs/tls.crt"),
        ];
        assert!(read(&others).is_ok(), "{off:?}");
    }
}

#[test]
fn ports_are_required() {
    let error = read_all([]).unwrap_err().to_string();
    assert!(error.contains("KEDA_HTTP_PROXY_PORT is not set"), "{error}");
}

#[test]
fn zero_is_no_limit() {
    let config = read(&[
        ("KEDA_HTTP_RESPONSE_HEADER_TIMEOUT", "0s"),
        ("KEDA_HTTP_DRAIN_TIMEOUT", "0"),
    ])
    .unwrap();
    assert_eq!((config.timeouts.response_header, config.shutdown.drain), (None, None));
}

#[test]
fn deprecated_names_win_when_they_say_something() {
    let both = |old| {
        read(&[
            ("KEDA_CONDITION_WAIT_TIMEOUT", old),
            ("KEDA_HTTP_READINESS_TIMEOUT", "7s"),
        ])
        .unwrap()
    };
    assert_eq!(
        both("20m").timeouts.readiness,
        ReadinessTimeout::Set(Duration::from_secs(1200))
    );
    assert_eq!(
        both("0s").timeouts.readiness,
        ReadinessTimeout::Set(Duration::from_secs(7))
    );
}

#[test]
fn a_request_is_held_as_long_as_the_route_or_the_setting_says() {
    let seconds = Duration::from_secs;
    let table = [
        // setting, route, fallback -> limit
        (ReadinessTimeout::Default, None, false, Some(seconds(1200))),
        (ReadinessTimeout::Default, None, true, Some(seconds(30))),
        (ReadinessTimeout::Set(seconds(9)), None, true, Some(seconds(9))),
        (ReadinessTimeout::Set(seconds(0)), None, false, None),
        (ReadinessTimeout::Set(seconds(0)), None, true, Some(seconds(30))),
        (
            ReadinessTimeout::Set(seconds(9)),
            Some(seconds(2)),
            false,
            Some(seconds(2)),
        ),
        (ReadinessTimeout::Set(seconds(9)), Some(seconds(0)), false, None),
        (
            ReadinessTimeout::Set(seconds(9)),
            Some(seconds(0)),
            true,
            Some(seconds(30)),
        ),
    ];
    for (setting, route, fallback, limit) in table {
        assert_eq!(
            setting.limit(route, fallback),
            limit,
            "{setting:?} {route:?} {fallback}"
        );
    }
}

#[test]
fn metrics_can_be_switched_off() {
    assert_eq!(
        read(&[("OTEL_PROM_EXPORTER_ENABLED", "false")])
            .unwrap()
            .listen
            .metrics_port,
        None
    );
}

#[test]
fn the_values_in_force_are_shown_as_they_would_be_set() {
    let variables = [
        ("KEDA_HTTP_PROXY_PORT", "8080"),
        ("KEDA_HTTP_ADMIN_PORT", "9090"),
        ("KEDA_CONDITION_WAIT_TIMEOUT", "90s"),
        ("KEDA_HTTP_DRAIN_TIMEOUT", "0"),
    ];
    let (_, table) = settings::read(&Environment::of(variables), Config::read).unwrap();
    let shown: serde_json::Value = serde_json::to_value(&table).unwrap();
    for (name, value) in [
        ("KEDA_HTTP_PROXY_PORT", "8080"),
        ("KEDA_HTTP_BIND_ADDRESS", "::"),
        ("KEDA_HTTP_READINESS_TIMEOUT", "1m30s"),
        ("KEDA_HTTP_RESPONSE_HEADER_TIMEOUT", "5m0s"),
        ("KEDA_HTTP_DRAIN_TIMEOUT", "0s"),
        ("KEDA_HTTP_HOST_OWNERSHIP", "namespace"),
    ] {
        assert_eq!(shown[name], value, "{name}");
    }
    assert!(shown["KEDA_HTTP_WATCH_NAMESPACE"].is_null());
}

#[test]
fn upstreams_deprecated_and_unused_variables_are_in_the_table() {
    let table = describe(Config::read);
    let status = |name: &str| &table.rows().iter().find(|row| row.name == name).unwrap().status;
    for name in ["KEDA_CONDITION_WAIT_TIMEOUT", "KEDA_RESPONSE_HEADER_TIMEOUT"] {
        assert!(matches!(status(name), Status::Deprecated { .. }), "{name}");
    }
    for name in [
        "KEDA_HTTP_MAX_IDLE_CONNS",
        "KEDA_HTTP_DIRECT_POD_ROUTING",
        "PROFILING_BIND_ADDRESS",
    ] {
        assert!(matches!(status(name), Status::WithoutEffect { .. }), "{name}");
    }
}

#[test]
fn without_manifests_the_objects_are_those_of_the_api_server() {
    let read = |variables: &[(&str, &str)]| {
        let ports = [("KEDA_HTTP_PROXY_PORT", "0"), ("KEDA_HTTP_ADMIN_PORT", "0")];
        read_all(ports.into_iter().chain(variables.iter().copied()))
    };
    let config = read(&[]).unwrap();
    let SourceConfig::Cluster(cluster) = &config.source else {
        panic!("{:?}", config.source)
    };
    assert_eq!(
        (&cluster.watch_namespace, &config.routing.own_namespace),
        (&None, &None)
    );
    assert_eq!(config.routing.host_ownership, HostOwnership::Namespace);
    assert_eq!(config.routing.cluster_domain, "cluster.local");
    assert_eq!(config.routing.max_staleness, None);
    let config = read(&[
        ("KEDA_HTTP_WATCH_NAMESPACE", "shop"),
        ("KEDA_HTTP_NAMESPACE", "keda"),
        ("KEDA_HTTP_HOST_OWNERSHIP", "none"),
        ("KEDA_HTTP_ROUTING_TABLE_MAX_STALENESS", "10m"),
        ("KEDA_HTTP_SCALER_CONFIG_MAP_INFORMER_RSYNC_PERIOD", "60m"),
        ("PROFILING_BIND_ADDRESS", "127.0.0.1:6060"),
    ]);
    let config = config.unwrap();
    assert_eq!(config.routing.own_namespace.as_deref(), Some("keda"));
    assert_eq!(config.routing.host_ownership, HostOwnership::None);
    assert_eq!(config.routing.max_staleness, Some(Duration::from_secs(600)));
    for (name, value) in [
        ("KEDA_HTTP_WATCH_NAMESPACE", "shop,blog"),
        ("KEDA_HTTP_NAMESPACE", "Keda"),
        ("KEDA_HTTP_HOST_OWNERSHIP", "first"),
        ("KEDA_HTTP_CLUSTER_DOMAIN", "cluster..local"),
        ("KEDA_HTTP_ROUTING_TABLE_MAX_STALENESS", "10"),
    ] {
        let error = read(&[(name, value)]).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(value), "{error}");
    }
}
