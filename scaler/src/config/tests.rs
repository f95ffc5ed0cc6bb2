use keda_http_runtime::env::Environment;
use keda_http_runtime::settings;

use super::*;

const LIST: (&str, &str) = ("KEDA_HTTP_SCALER_INTERCEPTORS", "10.0.0.1:9090, 10.0.0.2:9090");
/// What upstream's manifests set.
const SERVICE: [(&str, &str); 4] = [
    ("KEDA_HTTP_SCALER_TARGET_ADMIN_NAMESPACE", "keda"),
    ("KEDA_HTTP_SCALER_TARGET_ADMIN_SERVICE", "interceptor-admin"),
    ("KEDA_HTTP_SCALER_TARGET_ADMIN_DEPLOYMENT", "interceptor"),
    ("KEDA_HTTP_SCALER_TARGET_ADMIN_PORT", "9090"),
];

fn read<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Config, String> {
    settings::read(&Environment::of(variables), Config::read)
        .map(|(config, _)| config)
        .map_err(|error| error.to_string())
}

#[test]
fn upstreams_defaults_hold_and_a_list_alone_needs_no_api_server() {
    let config = read([LIST]).unwrap();
    assert_eq!(config.listen, "0.0.0.0:8080".parse().unwrap());
    assert_eq!(config.metrics, Some("0.0.0.0:2223".parse().unwrap()));
    assert!(!config.reflection && config.objects == ObjectsFrom::Nowhere && config.cluster.is_none());
    assert!(config.controllers.is_none() && config.admission.is_none());
    assert_eq!(config.interceptors.poll_every, Duration::from_millis(500));
    assert_eq!(config.interceptors.retention, Duration::from_secs(30));
    assert!(matches!(config.interceptors.find, Find::List(list) if list.len() == 2));
}

#[test]
fn what_upstreams_manifests_set_finds_interceptors_and_objects_in_the_cluster() {
    let more = [
        ("KEDA_HTTP_SCALER_PORT", "9090"),
        ("KEDA_HTTP_SCALER_STREAM_INTERVAL_MS", "200"),
        ("KEDA_HTTP_QUEUE_TICK_DURATION", "1s"),
        ("KEDA_HTTP_BIND_ADDRESS", "127.0.0.1"),
        ("OTEL_PROM_EXPORTER_ENABLED", "false"),
        ("KEDA_HTTP_WATCH_NAMESPACE", ""),
    ];
    let config = read(SERVICE.into_iter().chain(more)).unwrap();
    assert_eq!(config.listen, "127.0.0.1:9090".parse().unwrap());
    assert_eq!(config.metrics, None);
    assert_eq!(config.interceptors.poll_every, Duration::from_secs(1));
    let Find::Service(service) = config.interceptors.find else {
        panic!("{config:?}")
    };
    assert_eq!(
        (&*service.namespace, &*service.service, service.port),
        ("keda", "interceptor-admin", 9090)
    );
    assert_eq!(config.objects, ObjectsFrom::Cluster);
    assert!(config.cluster.unwrap().watch_namespace.is_none());
}

#[test]
fn objects_come_from_the_directory_before_the_api_server_and_from_that_where_one_is_named() {
    let directory = ("KEDA_HTTP_MANIFESTS", "/");
    let [pod, kubeconfig] = [("KUBERNETES_SERVICE_HOST", "10.0.0.1"), ("KUBECONFIG", "/a:/b")];
    let manifests = ObjectsFrom::Manifests("/".into());
    let listed = read([LIST, pod, directory]).unwrap();
    assert!(listed.objects == manifests && listed.cluster.is_none());
    let discovered = read(SERVICE.into_iter().chain([directory])).unwrap();
    assert!(discovered.objects == manifests && discovered.cluster.is_some());
    assert_eq!(read([LIST, pod]).unwrap().objects, ObjectsFrom::Cluster);
    let config = read([LIST, kubeconfig, ("KEDA_HTTP_WATCH_NAMESPACE", "shop")]).unwrap();
    assert_eq!(config.cluster.unwrap().watch_namespace.as_deref(), Some("shop"));
}

#[test]
fn what_only_the_leader_does_and_the_webhook_are_off_until_they_are_asked_for() {
    let enabled = [
        ("KEDA_HTTP_CONTROLLERS_ENABLED", "true"),
        ("KEDA_HTTP_LEASE_DURATION", "6s"),
        ("HOSTNAME", "scaler-0"),
        ("KEDA_HTTP_ADMISSION_ENABLED", "true"),
        ("KEDA_HTTP_ADMISSION_PORT", "8443"),
        ("KEDA_HTTP_AUTOWIRE_ENABLED", "true"),
        ("KEDA_HTTP_AUTOWIRE_PORTS", "30000-30099"),
        ("KEDA_HTTP_SCALER_ADDRESS", "scaler.keda:9090"),
    ];
    let config = read(SERVICE.into_iter().chain(enabled)).unwrap();
    let controllers = config.controllers.unwrap();
    assert_eq!(controllers.lease_name, "keda-add-ons-http-scaler");
    assert_eq!(controllers.lease_duration, Duration::from_secs(6));
    assert_eq!(controllers.replica, "scaler-0");
    let autowire = controllers.autowire.unwrap();
    assert_eq!(autowire.ports, 30_000..=30_099);
    assert_eq!(autowire.debounce, Duration::from_secs(1));
    assert_eq!(autowire.sync_period, Duration::from_millis(500));
    assert_eq!(config.admission.unwrap().listen, "0.0.0.0:8443".parse().unwrap());
    assert_eq!(config.scaler_address.as_deref(), Some("scaler.keda:9090"));
}

#[test]
fn an_error_names_the_variable_its_value_and_what_is_allowed() {
    for (name, value) in [
        ("KEDA_HTTP_SCALER_PORT", "70000"),
        ("KEDA_HTTP_QUEUE_TICK_DURATION", "5"),
        ("KEDA_HTTP_QUEUE_TICK_DURATION", "0s"),
        ("KEDA_HTTP_SCALER_RETENTION", "soon"),
        ("KEDA_HTTP_SCALER_STREAM_INTERVAL_MS", "-1"),
        ("KEDA_HTTP_MANIFESTS", "/no/such/directory"),
        ("KEDA_HTTP_WATCH_NAMESPACE", "shop,blog"),
        ("TOKIO_WORKER_THREADS", "0"),
        ("KEDA_HTTP_SCALER_REFLECTION", "maybe"),
        ("KEDA_HTTP_BIND_ADDRESS", "localhost"),
        ("KEDA_HTTP_SCALER_TARGET_ADMIN_PORT", "http"),
        ("OTEL_PROM_EXPORTER_PORT", "x"),
        ("KEDA_HTTP_SCALER_INTERCEPTORS", "10.0.0.1"),
        ("KEDA_HTTP_SCALER_ADDRESS", "http://scaler:9090"),
        ("KEDA_HTTP_CONTROLLERS_ENABLED", "yes"),
        ("KEDA_HTTP_LEASE_DURATION", "2s"),
        ("KEDA_HTTP_LEASE_DURATION", "3500ms"),
        ("KEDA_HTTP_ADMISSION_PORT", "https"),
        ("KEDA_HTTP_AUTOWIRE_PORTS", "24999-20000"),
        ("KEDA_HTTP_AUTOWIRE_PORTS", "80-90"),
        ("KEDIFY_AUTOWIRE_SERVICE_SYNC_PERIOD", "0"),
        ("HTTP_HEALTHCHECK_DEBOUNCER_SECONDS", "1s"),
    ] {
        let error = read([LIST, (name, value)]).unwrap_err();
        assert!(
            error.contains(name) && error.contains(value) && error.contains("must be"),
            "{error}"
        );
    }
}

#[test]
fn without_interceptors_the_error_names_both_settings() {
    let error = read([]).unwrap_err();
    for word in [
        "KEDA_HTTP_SCALER_INTERCEPTORS",
        "host:port",
        "KEDA_HTTP_SCALER_TARGET_ADMIN_NAMESPACE",
        "KEDA_HTTP_SCALER_TARGET_ADMIN_SERVICE",
        "KEDA_HTTP_SCALER_TARGET_ADMIN_PORT",
    ] {
        assert!(error.contains(word), "{word}: {error}");
    }
    for missing in [0, 1, 3] {
        let others = SERVICE.into_iter().enumerate().filter(|(index, _)| *index != missing);
        let error = read(others.map(|(_, variable)| variable)).unwrap_err();
        let name = SERVICE[missing].0;
        assert!(error.starts_with(&format!("{name} is not set")), "{error}");
        assert!(error.contains("KEDA_HTTP_SCALER_INTERCEPTORS"), "{error}");
    }
    for port in ["0", "http"] {
        let wrong = SERVICE[..3]
            .iter()
            .copied()
            .chain([("KEDA_HTTP_SCALER_TARGET_ADMIN_PORT", port)]);
        let error = read(wrong).unwrap_err();
        assert!(error.contains(port) && error.contains("1 to 65535"), "{error}");
    }
}

#[test]
fn autowire_is_refused_where_it_could_not_work_and_says_why() {
    let autowire = ("KEDA_HTTP_AUTOWIRE_ENABLED", "true");
    let error = read(SERVICE.into_iter().chain([autowire])).unwrap_err();
    assert!(error.contains("KEDA_HTTP_CONTROLLERS_ENABLED"), "{error}");
    let error = read([LIST, autowire, ("KEDA_HTTP_CONTROLLERS_ENABLED", "true")]).unwrap_err();
    assert!(error.contains("KEDA_HTTP_SCALER_INTERCEPTORS"), "{error}");
}
