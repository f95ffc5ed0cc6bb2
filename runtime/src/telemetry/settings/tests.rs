use http::header::{HeaderName, HeaderValue};

use super::*;
use crate::env::{EnvError, Environment};
use crate::settings;

fn read(variables: &[(&str, &str)]) -> Result<SpanSettings, EnvError> {
    let on = [(ENABLED, "true")];
    let environment = Environment::of(on.iter().chain(variables).copied());
    Ok(read_from(&environment)?.expect("spans are on"))
}

fn read_from(environment: &Environment) -> Result<Option<SpanSettings>, EnvError> {
    Ok(settings::read(environment, SpanSettings::read)?.0)
}

fn collector(variables: &[(&str, &str)]) -> Result<Collector, EnvError> {
    match read(variables)?.destination {
        Destination::Collector(collector) => Ok(collector),
        Destination::Console => panic!("spans go to the console"),
    }
}

fn grpc(variables: &[(&str, &str)]) -> Result<Collector, EnvError> {
    collector(&[&[(PROTOCOL, "grpc")], variables].concat())
}

fn http(variables: &[(&str, &str)]) -> Result<Collector, EnvError> {
    collector(&[&[(PROTOCOL, "http/protobuf")], variables].concat())
}

const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const RESOURCE_ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";

#[test]
fn spans_are_off_by_default() {
    let off = |value| read_from(&Environment::of([(ENABLED, value), (PROTOCOL, "nonsense")]));
    assert!(off("").unwrap().is_none());
    assert!(off("false").unwrap().is_none());
    assert!(
        off("yes")
            .unwrap_err()
            .to_string()
            .starts_with("OTEL_EXPORTER_OTLP_TRACES_ENABLED=\"yes\"")
    );
}

#[test]
fn protocols_by_name_in_any_case() {
    assert!(matches!(read(&[]).unwrap().destination, Destination::Console));
    assert!(matches!(
        read(&[(PROTOCOL, "Console")]).unwrap().destination,
        Destination::Console
    ));
    assert_eq!(collector(&[(PROTOCOL, "GRPC")]).unwrap().protocol, Protocol::Grpc);
    assert_eq!(
        collector(&[(PROTOCOL, "HTTP/protobuf")]).unwrap().protocol,
        Protocol::Http
    );
    let error = read(&[(PROTOCOL, "http/json")]).unwrap_err().to_string();
    assert!(error.ends_with("must be console, http/protobuf or grpc"), "{error}");
}

#[test]
fn endpoints_over_http() {
    let table: [(&[(&str, &str)], &str); 6] = [
        (&[], "http://localhost:4318/v1/traces"),
        (&[(TRACES_ENDPOINT, "http://c:4318/custom")], "http://c:4318/custom"),
        (&[(ENDPOINT, "http://c:4318")], "http://c:4318/v1/traces"),
        (&[(ENDPOINT, "https://c/base/")], "https://c/base/v1/traces"),
        (
            &[(ENDPOINT, "http://all:1"), (TRACES_ENDPOINT, "http://traces:1/x")],
            "http://traces:1/x",
        ),
        (
            &[(TRACES_ENDPOINT, "http://[::1]:4318/v1/traces")],
            "http://[::1]:4318/v1/traces",
        ),
    ];
    for (variables, expected) in table {
        assert_eq!(http(variables).unwrap().endpoint.to_string(), expected, "{variables:?}");
    }
}

#[test]
fn endpoints_over_grpc() {
    const INSECURE: &str = "OTEL_EXPORTER_OTLP_INSECURE";
    const TRACES_INSECURE: &str = "OTEL_EXPORTER_OTLP_TRACES_INSECURE";
    let table: [(&[(&str, &str)], &str); 8] = [
        (&[], "http://localhost:4317/"),
        (&[(TRACES_ENDPOINT, "http://c:4317")], "http://c:4317/"),
        (&[(TRACES_ENDPOINT, "http://c:4317/v1/traces")], "http://c:4317/"),
        (
            &[(TRACES_ENDPOINT, "https://c:4317"), (TRACES_INSECURE, "true")],
            "https://c:4317/",
        ),
        (&[(TRACES_ENDPOINT, "c:4317")], "https://c:4317/"),
        (
            &[(TRACES_ENDPOINT, "c:4317"), (TRACES_INSECURE, "true")],
            "http://c:4317/",
        ),
        (&[(ENDPOINT, "c:4317"), (INSECURE, "1")], "http://c:4317/"),
        (
            &[(ENDPOINT, "c:4317"), (INSECURE, "true"), (TRACES_INSECURE, "false")],
            "https://c:4317/",
        ),
    ];
    for (variables, expected) in table {
        assert_eq!(grpc(variables).unwrap().endpoint.to_string(), expected, "{variables:?}");
    }
}

#[test]
fn a_malformed_endpoint_is_refused_by_name() {
    for bad in [
        "collector:4318",
        "ftp://c",
        "http://",
        "http://c:99999",
        "http:///v1",
        "no url at all",
    ] {
        let error = http(&[(TRACES_ENDPOINT, bad)]).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("{TRACES_ENDPOINT}={bad:?} cannot")),
            "{error}"
        );
        assert!(error.contains("http://collector:4318/v1/traces"), "{error}");
    }
    for bad in [
        "collector",
        "ftp://c",
        "http://",
        "http://c:99999",
        "c:port",
        "http//c:4317",
    ] {
        let error = grpc(&[(ENDPOINT, bad)]).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{ENDPOINT}={bad:?} cannot")), "{error}");
    }
    let error = grpc(&[("OTEL_EXPORTER_OTLP_TRACES_INSECURE", "perhaps")])
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("OTEL_EXPORTER_OTLP_TRACES_INSECURE=\"perhaps\""),
        "{error}"
    );
}

#[test]
fn headers_are_percent_decoded_and_the_traces_ones_win() {
    let general = (
        "OTEL_EXPORTER_OTLP_HEADERS",
        "authorization=Bearer%20abc, X-Tenant = a%2Cb ",
    );
    let collector = http(&[general]).unwrap();
    let text = |(name, value): &(HeaderName, HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
    let texts: Vec<_> = collector.headers.iter().map(text).collect();
    assert_eq!(texts, ["authorization: Bearer abc", "x-tenant: a,b"]);
    let collector = http(&[general, ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "k=v=w")]).unwrap();
    assert_eq!(collector.headers.iter().map(text).collect::<Vec<_>>(), ["k: v=w"]);
}

#[test]
fn a_header_that_cannot_be_used_is_shown_by_its_position_only() {
    for bad in [
        "secret",
        "Authorization: Bearer secret",
        "bad name=secret",
        "secret name=x",
        "k=secret%zz",
        "k=secret%+1",
        "k=secret%0a",
        "=secret",
    ] {
        for variable in ["OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"] {
            let error = http(&[(variable, &format!("a=b,{bad}"))]).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("{variable}=")) && error.contains("name=value"),
                "{error}"
            );
            assert!(
                error.ends_with("entry 2 is not") && !error.contains("secret"),
                "{error}"
            );
        }
    }
}

#[test]
fn user_information_of_an_endpoint_is_a_header_and_is_not_shown() {
    for variable in [ENDPOINT, TRACES_ENDPOINT] {
        for (protocol, url) in [
            ("http/protobuf", "http://user:s3cr3t@c:4318/p@th"),
            ("grpc", "https://user:s3cr3t@c:4317"),
            ("grpc", "user:s3cr3t@c:4317"),
        ] {
            let environment = Environment::of([(ENABLED, "true"), (PROTOCOL, protocol), (variable, url)]);
            let (read, table) = settings::read(&environment, SpanSettings::read).unwrap();
            let Destination::Collector(collector) = read.unwrap().destination else {
                panic!("spans go to the console");
            };
            assert_eq!(collector.endpoint.host(), Some("c"), "{url}");
            assert_eq!(collector.headers[0].1, "Basic dXNlcjpzM2NyM3Q=", "{url}");
            let shown = format!("{collector:?} {table:?} {}", collector.unusable(&"x"));
            assert!(shown.contains("c:431") && !shown.contains("s3cr3t"), "{shown}");
        }
        for bad in [
            "user:s3cr3t@c",
            "ftp://user:s3cr3t@c",
            "http://user:s3cr3t@c:99999",
            "http://user:s3cr3t/x@c",
            "user:s3cr3t://x@c",
        ] {
            let error = http(&[(variable, bad)]).unwrap_err().to_string();
            assert!(error.starts_with(variable) && !error.contains("s3cr3t"), "{error}");
        }
    }
    let own = ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20abc");
    let collector = http(&[(ENDPOINT, "http://user:s3cr3t@c:4318"), own]).unwrap();
    assert_eq!(collector.headers.len(), 1, "the header wins");
    assert_eq!(collector.headers[0].1, "Bearer abc");
}

#[test]
fn timeouts_are_milliseconds() {
    assert_eq!(grpc(&[]).unwrap().timeout, Duration::from_secs(10));
    assert_eq!(
        grpc(&[("OTEL_EXPORTER_OTLP_TIMEOUT", "5")]).unwrap().timeout,
        Duration::from_millis(5)
    );
    let both = [
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "5"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "2500"),
    ];
    assert_eq!(grpc(&both).unwrap().timeout, Duration::from_millis(2500));
    for bad in ["5s", "0", "-1", "86400001"] {
        let error = grpc(&[("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", bad)])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT") && error.contains("milliseconds"),
            "{error}"
        );
    }
}

#[test]
fn batches_follow_the_settings() {
    let expected = Batch {
        delay: Duration::from_secs(5),
        queue: 2048,
        size: 512,
        timeout: Duration::from_secs(30),
    };
    assert_eq!(read(&[]).unwrap().batch, expected);
    let variables = [
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "64"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "128"),
        ("OTEL_BSP_EXPORT_TIMEOUT", "2000"),
    ];
    let expected = Batch {
        delay: Duration::from_millis(100),
        queue: 64,
        size: 64, // Never more than the queue can hold.
        timeout: Duration::from_secs(2),
    };
    assert_eq!(read(&variables).unwrap().batch, expected);
    for (name, _) in variables {
        for bad in ["0", "many", "99999999999999999999"] {
            let error = read(&[(name, bad)]).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{name}={bad:?}")), "{error}");
        }
    }
}

#[test]
fn resource_attributes_are_added_and_the_service_name_stays() {
    let settings = read(&[(RESOURCE_ATTRIBUTES, "service.name=other,k8s.pod.name=a%20b")]).unwrap();
    let resource = settings.attributes.resource("keda-http-interceptor");
    let get = |name: &'static str| resource.get(&name.into()).map(|value| value.to_string());
    assert_eq!(get("service.name").as_deref(), Some("keda-http-interceptor"));
    assert_eq!(get("k8s.pod.name").as_deref(), Some("a b"));
    assert!(
        read(&[(RESOURCE_ATTRIBUTES, "novalue")])
            .unwrap_err()
            .to_string()
            .contains(RESOURCE_ATTRIBUTES)
    );
}

#[test]
fn certificates_must_be_readable_pem() {
    let name = "OTEL_EXPORTER_OTLP_CERTIFICATE";
    for bad in ["/no/such/file", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")] {
        let error = grpc(&[(name, bad)]).unwrap_err().to_string();
        assert!(error.starts_with(name) && error.contains("PEM"), "{error}");
    }
}
