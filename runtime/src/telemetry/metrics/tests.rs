use super::*;
use crate::telemetry::logged::logged;

const INSTRUMENTS: fn() -> Instruments = || Instruments {
    scope: "test",
    registry: Arc::new(Registry::default()),
    integers: &[],
    names: &[],
};

fn exporter() -> Exporter {
    let environment = Environment::of([
        ("OTEL_EXPORTER_OTLP_METRICS_ENABLED", "true"),
        (
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
            "http://collector:4318/v1/metrics",
        ),
    ]);
    let push = MetricPush::from_environment("test", &environment).unwrap().unwrap();
    Exporter::new(push, INSTRUMENTS())
}

#[test]
fn failures_are_logged_when_they_begin_and_when_they_end() {
    let mut exporter = exporter();
    let lines = logged(|| {
        for failing in [false, true, true, true, false, false, true] {
            exporter.log_outcome(if failing { Err(ExportError::Late) } else { Ok(()) });
        }
    });
    let words = ["cannot be exported", "exported again", "cannot be exported"];
    assert_eq!(lines.len(), words.len(), "{lines:?}");
    for (line, word) in lines.iter().zip(words) {
        assert!(
            line.contains(word) && line.contains("destination=\"http://collector:4318/v1/metrics\""),
            "{line}"
        );
    }
}

#[test]
fn why_a_collector_is_not_reached_is_said_without_its_address() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut exporter = exporter();
    exporter.destination = format!("http://{closed}/secret");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let error = runtime.block_on(exporter.export()).unwrap_err().to_string();
    assert!(error.contains("refused") && !error.contains("secret"), "{error}");
}

/// Why an export fails that gets this answer.
fn failure(answer: impl axum::response::IntoResponse + Clone + Send + Sync + 'static) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let exported = runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut exporter = exporter();
        exporter.destination = format!("http://{}", listener.local_addr().unwrap());
        let router = axum::Router::new().fallback(async || answer);
        tokio::spawn(axum::serve(listener, router).into_future());
        exporter.export().await
    });
    exported.map_or_else(|error| error.to_string(), |()| String::new())
}

#[test]
fn a_refusal_is_a_failure_and_so_are_values_that_are_rejected() {
    use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsPartialSuccess;
    let partly = |rejected_data_points, message: &str| {
        let partial_success = Some(ExportMetricsPartialSuccess {
            rejected_data_points,
            error_message: message.to_owned(),
        });
        ExportMetricsServiceResponse { partial_success }.encode_to_vec()
    };
    let unavailable = http::StatusCode::SERVICE_UNAVAILABLE;
    assert_eq!(failure(unavailable), "the collector answers 503 Service Unavailable");
    let rejected = "the collector has rejected 3 values: too old";
    assert_eq!(failure(partly(3, "too old")), rejected);
    assert_eq!(failure(partly(0, "a warning")), "");
    assert_eq!(failure(""), "");
    assert_eq!(failure("not protobuf"), "", "it has been taken all the same");
}
