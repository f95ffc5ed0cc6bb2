//! The program itself: exit codes and signals.

use std::net::TcpListener;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use prost::Message;
use tokio::process::{Child, Command};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::interceptor::Interceptor;
use crate::keda::{Keda, kedify, next, wait_until, within};

pub type Settings<'a> = &'a [(&'a str, &'a str)];

pub fn program(settings: Settings<'_>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keda-http-scaler"));
    command
        .env_clear()
        .env("KEDA_HTTP_BIND_ADDRESS", "127.0.0.1")
        .env("OTEL_PROM_EXPORTER_PORT", "0");
    command
        .envs(settings.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

async fn output(mut command: Command) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = within(command.output()).await.unwrap();
    (
        status.code(),
        String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap(),
    )
}

#[tokio::test]
async fn settings_that_cannot_be_used_end_it_with_64_and_say_what_is_wrong() {
    let interceptors = ("KEDA_HTTP_SCALER_INTERCEPTORS", "127.0.0.1:1");
    let cases: [(Settings<'_>, &[&str]); 4] = [
        (
            &[],
            &[
                "KEDA_HTTP_SCALER_INTERCEPTORS",
                "host:port",
                "KEDA_HTTP_SCALER_TARGET_ADMIN_SERVICE",
            ],
        ),
        (
            &[("KEDA_HTTP_SCALER_INTERCEPTORS", "here")],
            &["KEDA_HTTP_SCALER_INTERCEPTORS", "here", "host:port"],
        ),
        (
            &[interceptors, ("KEDA_HTTP_QUEUE_TICK_DURATION", "5")],
            &["KEDA_HTTP_QUEUE_TICK_DURATION", "\"5\"", "500ms"],
        ),
        (
            &[
                interceptors,
                ("OTEL_EXPORTER_OTLP_METRICS_ENABLED", "true"),
                ("OTEL_METRIC_EXPORT_INTERVAL", "5s"),
            ],
            &["OTEL_METRIC_EXPORT_INTERVAL", "\"5s\"", "milliseconds"],
        ),
    ];
    for (settings, words) in cases {
        let (code, text) = output(program(settings)).await;
        assert_eq!(code, Some(64), "{text}");
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
    }
}

#[tokio::test]
async fn a_port_in_use_ends_it_with_1_and_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let settings = [
        ("KEDA_HTTP_SCALER_INTERCEPTORS", "127.0.0.1:1"),
        ("KEDA_HTTP_SCALER_PORT", &port),
    ];
    let (code, text) = output(program(&settings)).await;
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains(&port) && text.contains("in use"), "{text}");
}

#[tokio::test]
async fn help_and_version_are_printed_and_other_arguments_are_refused() {
    let table = [
        ("--help", 0, "KEDA_HTTP_SCALER_INTERCEPTORS"),
        ("-V", 0, concat!("keda-http-scaler ", env!("CARGO_PKG_VERSION"))),
        ("foo", 2, "unknown argument \"foo\"; --help lists what is allowed"),
        ("autowire", 2, "autowire needs --dry-run"),
    ];
    for (argument, expected, part) in table {
        let mut command = program(&[]);
        command.arg(argument);
        let (code, text) = output(command).await;
        assert_eq!(code, Some(expected), "{text}");
        assert!(text.contains(part), "{text}");
    }
}

#[tokio::test]
async fn metrics_are_pushed_to_a_collector() {
    let (sender, mut received) = unbounded_channel();
    let take = async |State(sender): State<UnboundedSender<_>>, body: Bytes| {
        let _ = sender.send(ExportMetricsServiceRequest::decode(body).unwrap());
    };
    let router = Router::new().route("/v1/metrics", post(take)).with_state(sender);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, router).into_future());
    let settings = [
        ("KEDA_HTTP_SCALER_INTERCEPTORS", "127.0.0.1:1"),
        ("KEDA_HTTP_SCALER_PORT", "0"),
        ("OTEL_EXPORTER_OTLP_METRICS_ENABLED", "true"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
        ("OTEL_METRIC_EXPORT_INTERVAL", "20"),
    ];
    let mut child = program(&settings).spawn().unwrap();
    let request: ExportMetricsServiceRequest = within(received.recv()).await.unwrap();
    let resource = &request.resource_metrics[0];
    let who = resource.resource.as_ref().unwrap().attributes.iter();
    let name = who.clone().find(|attribute| attribute.key == "service.name").unwrap();
    let name = name.value.clone().unwrap().value;
    assert_eq!(name, Some(Value::StringValue("keda-http-external-scaler".to_owned())));
    let metrics = &resource.scope_metrics[0].metrics;
    let names: Vec<_> = metrics.iter().map(|metric| metric.name.as_str()).collect();
    for expected in [
        "scaler_pinger_endpoints",
        "scaler_pinger_fetch_errors",
        "scaler_pinger_fetch_duration_seconds",
    ] {
        assert!(names.contains(&expected), "{expected} in {names:?}");
    }
    child.kill().await.unwrap();
}

/// Ports that were free a moment ago: the program tells its ports only in its log.
pub fn free_ports() -> [u16; 2] {
    let listeners = [0, 0].map(|port| TcpListener::bind(("127.0.0.1", port)).unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

pub async fn get(port: u16, path: &str) -> (u16, String) {
    let response = reqwest::get(format!("http://127.0.0.1:{port}{path}")).await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

#[tokio::test]
async fn go_baseline_4_sigterm_with_an_open_stream_ends_the_process_with_0_at_once() {
    let interceptor = Interceptor::start_old();
    let [port, metrics] = free_ports();
    let settings = [
        ("KEDA_HTTP_SCALER_INTERCEPTORS", interceptor.address.to_string()),
        ("KEDA_HTTP_SCALER_PORT", port.to_string()),
        ("OTEL_PROM_EXPORTER_PORT", metrics.to_string()),
    ];
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    let mut child = program(&settings).spawn().unwrap();
    let keda = Keda::of(([127, 0, 0, 1], port).into());
    let api = kedify("requestRate", []);
    wait_until(|| keda.is_active(&api), Result::is_ok).await;
    let mut stream = keda.stream(&api).await.unwrap();
    wait_until(|| get(metrics, "/readyz"), |(status, _)| *status == 200).await;
    assert_eq!(get(metrics, "/livez").await.0, 200);
    assert!(get(metrics, "/metrics").await.1.contains("target_info"));
    let config = get(metrics, "/config").await.1;
    assert!(
        config.contains(&format!(r#""KEDA_HTTP_SCALER_PORT":"{port}""#)),
        "{config}"
    );
    assert_eq!(get(metrics, "/log-level").await, (200, "info\n".to_owned()));

    let asked = Instant::now();
    terminate(&child).await;
    assert_eq!(next(&mut stream).await, None, "the stream ends with OK");
    assert_eq!(within(child.wait()).await.unwrap().code(), Some(0));
    assert!(
        asked.elapsed() < Duration::from_secs(2),
        "it took {:?}",
        asked.elapsed()
    );
}

pub async fn terminate(child: &Child) {
    let pid = child.id().unwrap().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .await
            .unwrap()
            .success()
    );
}
