//! Spans leave the process for real receivers, and none of these can hold the process up.

use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use keda_http_runtime::env::Environment;
use keda_http_runtime::telemetry::{FLUSH_LIMIT, LogConfig, Telemetry};
use opentelemetry::KeyValue;
use opentelemetry::trace::{Span, SpanKind, Status, Tracer, TracerProvider};

use crate::SLACK;
use crate::collector::Collector;

fn start(variables: &[(&str, &str)]) -> Telemetry {
    let on = [("OTEL_EXPORTER_OTLP_TRACES_ENABLED", "true")];
    let environment = Environment::of(on.iter().chain(variables).copied());
    Telemetry::start("keda-http-interceptor", &LogConfig::default(), &environment).unwrap()
}

fn start_for(protocol: &str, endpoint: &str, more: &[(&str, &str)]) -> Telemetry {
    let to = [
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", protocol),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", endpoint),
    ];
    start(&[&to[..], more].concat())
}

fn make_span(telemetry: &Telemetry, name: &'static str) {
    let tracer = telemetry.tracing().unwrap().provider.tracer("test");
    let mut span = tracer.span_builder(name).with_kind(SpanKind::Server).start(&tracer);
    span.set_attribute(KeyValue::new("cold-start", true));
    span.set_status(Status::error("no endpoint"));
    span.end();
}

/// Blocks its thread, which is what it is about; a test gives it a thread of its own.
fn time_to_drop(telemetry: Telemetry) -> Duration {
    let begin = Instant::now();
    drop(telemetry);
    begin.elapsed()
}

#[test]
fn without_the_switch_there_are_no_spans() {
    let environment = Environment::of([("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc")]);
    let telemetry = Telemetry::start("name", &LogConfig::default(), &environment).unwrap();
    assert!(telemetry.tracing().is_none());
}

#[test]
fn settings_that_cannot_be_used_stop_the_start() {
    let environment = Environment::of([("OTEL_EXPORTER_OTLP_TRACES_ENABLED", "perhaps")]);
    let error = Telemetry::start("name", &LogConfig::default(), &environment).unwrap_err();
    assert!(error.to_string().contains("OTEL_EXPORTER_OTLP_TRACES_ENABLED"));
    let environment = Environment::of([("RUST_LOG", "loud")]);
    let error = Telemetry::start("name", &LogConfig::default(), &environment).unwrap_err();
    assert!(
        error.to_string().starts_with("RUST_LOG=\"loud\" cannot be used"),
        "{error}"
    );
}

#[tokio::test]
async fn fault_c12_requested_spans_arrive_whatever_the_batch_delay() {
    let mut collector = Collector::start().await;
    let more = [("OTEL_BSP_SCHEDULE_DELAY", "60000")];
    let telemetry = start_for("grpc", &collector.endpoint("grpc"), &more);
    let prompt = telemetry.tracing().unwrap().prompt;
    // The second time the connection is there already.
    for _ in 0..2 {
        let ended = Instant::now();
        make_span(&telemetry, "wake");
        prompt.request();
        collector.next_spans().await;
        assert!(ended.elapsed() < Duration::from_secs(5), "{:?}", ended.elapsed());
    }
    telemetry.shutdown().await;
}

#[tokio::test]
async fn spans_arrive_with_headers_and_the_name_of_the_service() {
    for protocol in ["grpc", "http/protobuf"] {
        let mut collector = Collector::start().await;
        let more = [
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20abc"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=other,k8s.namespace.name=keda"),
        ];
        let telemetry = start_for(protocol, &collector.endpoint(protocol), &more);
        make_span(&telemetry, "wait");
        telemetry.shutdown().await;
        let received = collector.next_spans().await;
        assert_eq!(received.authorization.as_deref(), Some("Bearer abc"), "{protocol}");
        assert_eq!(received.spans(), ["wait"], "{protocol}");
        assert_eq!(
            received.resource("service.name").as_deref(),
            Some("keda-http-interceptor"),
            "{protocol}"
        );
        assert_eq!(
            received.resource("k8s.namespace.name").as_deref(),
            Some("keda"),
            "{protocol}"
        );
    }
}

#[tokio::test]
async fn spans_arrive_over_tls_that_a_given_authority_vouches_for() {
    for protocol in ["grpc", "http/protobuf"] {
        let (mut collector, authority) = Collector::start_tls().await;
        let file = authority.path().to_str().unwrap().to_owned();
        let endpoint = collector.endpoint(protocol);
        let telemetry = start_for(protocol, &endpoint, &[("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", &file)]);
        make_span(&telemetry, "secret");
        telemetry.shutdown().await;
        assert_eq!(collector.next_spans().await.spans(), ["secret"], "{protocol}");

        let distrustful = start_for(protocol, &endpoint, &[]);
        make_span(&distrustful, "refused");
        distrustful.shutdown().await;
        assert!(collector.spans.is_empty(), "{protocol}");
    }
}

#[tokio::test]
async fn spans_arrive_while_the_program_runs() {
    let mut collector = Collector::start().await;
    let endpoint = collector.endpoint("grpc");
    let telemetry = start_for("grpc", &endpoint, &[("OTEL_BSP_SCHEDULE_DELAY", "10")]);
    make_span(&telemetry, "first");
    assert_eq!(collector.next_spans().await.spans(), ["first"]);
    make_span(&telemetry, "second");
    assert_eq!(collector.next_spans().await.spans(), ["second"]);
    telemetry.shutdown().await;
}

#[tokio::test]
async fn a_collector_that_comes_back_gets_what_follows() {
    for protocol in ["grpc", "http/protobuf"] {
        let mut collector = Collector::start().await;
        let telemetry = start_for(
            protocol,
            &collector.endpoint(protocol),
            &[("OTEL_BSP_SCHEDULE_DELAY", "10")],
        );
        make_span(&telemetry, "before");
        assert_eq!(collector.next_spans().await.spans(), ["before"], "{protocol}");
        let mut collector = collector.restart().await;
        // A span that is sent while the connection ends may be lost; those that follow are not.
        while collector.spans.is_empty() {
            make_span(&telemetry, "after");
            telemetry.tracing().unwrap().provider.force_flush().ok();
        }
        assert!(collector.next_spans().await.spans().contains(&"after"), "{protocol}");
        telemetry.shutdown().await;
    }
}

#[tokio::test]
async fn what_is_not_sampled_does_not_leave() {
    let collector = Collector::start().await;
    let telemetry = start_for(
        "grpc",
        &collector.endpoint("grpc"),
        &[("OTEL_TRACES_SAMPLER", "always_off")],
    );
    make_span(&telemetry, "unseen");
    telemetry.shutdown().await;
    assert!(collector.spans.is_empty());
}

#[test]
fn the_flush_works_wherever_the_drop_happens() {
    let collecting = tokio::runtime::Runtime::new().unwrap();
    for protocol in ["grpc", "http/protobuf"] {
        let mut collector = collecting.block_on(Collector::start());
        let endpoint = collector.endpoint(protocol);
        let run = |name, place: &dyn Fn(Telemetry)| {
            let telemetry = start_for(protocol, &endpoint, &[]);
            make_span(&telemetry, name);
            place(telemetry);
        };
        run("outside", &|telemetry| drop(telemetry));
        run("only thread", &|telemetry| {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async { drop(telemetry) });
        });
        run("worker", &|telemetry| {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .build()
                .unwrap();
            runtime.block_on(runtime.spawn(async { drop(telemetry) })).unwrap();
        });
        for name in ["outside", "only thread", "worker"] {
            assert_eq!(
                collecting.block_on(collector.next_spans()).spans(),
                [name],
                "{protocol}"
            );
        }
    }
}

#[test]
fn a_collector_that_refuses_or_never_answers_holds_nothing_up() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap(); // Connections are made, and nobody reads them.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for address in [silent.local_addr().unwrap(), closed] {
        for protocol in ["grpc", "http/protobuf"] {
            let took = take_leave_of(protocol, address);
            assert!(took < FLUSH_LIMIT + SLACK, "{protocol} to {address}: {took:?}");
        }
    }
}

/// Ends more spans than the queue holds, which must not wait, and then the telemetry.
fn take_leave_of(protocol: &str, address: SocketAddr) -> Duration {
    let telemetry = start_for(
        protocol,
        &format!("http://{address}"),
        &[("OTEL_BSP_MAX_QUEUE_SIZE", "10")],
    );
    let begin = Instant::now();
    for _ in 0..1000 {
        make_span(&telemetry, "lost");
    }
    assert!(
        begin.elapsed() < FLUSH_LIMIT,
        "the end of a span waited for the collector"
    );
    time_to_drop(telemetry)
}

/// Not a test of its own: what the next one runs, to see its standard output.
#[test]
#[ignore = "started by the other test"]
fn the_process_with_a_console() {
    let telemetry = start(&[]);
    make_span(&telemetry, "wait");
}

#[test]
fn the_console_gets_one_line_a_span() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "spans::the_process_with_a_console",
            "--exact",
            "--ignored",
            "--nocapture",
        ])
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text
        .lines()
        .find(|line| line.contains("span \"wait\" server trace="))
        .unwrap_or_else(|| panic!("{text}"));
    assert!(line.contains("status=error(\"no endpoint\") cold-start=true"), "{line}");
}
