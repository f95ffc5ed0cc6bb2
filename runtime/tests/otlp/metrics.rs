//! Metrics reach a collector, and one that is gone or slow costs neither values nor time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keda_http_runtime::env::Environment;
use keda_http_runtime::telemetry::{FLUSH_LIMIT, Instruments, MetricPush, Pushing};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use crate::SLACK;
use crate::collector::Collector;

const OFTEN: (&str, &str) = ("OTEL_METRIC_EXPORT_INTERVAL", "10");
const NAME: &str = "requests";

/// A counter, and its push with these settings.
fn push(variables: &[(&str, &str)]) -> (Counter, Pushing) {
    let on = [("OTEL_EXPORTER_OTLP_METRICS_ENABLED", "true")];
    let environment = Environment::of(on.iter().chain(variables).copied());
    let push = MetricPush::from_environment("keda-http-interceptor", &environment);
    let (counter, mut registry) = (Counter::default(), Registry::default());
    registry.register(NAME, "Requests", counter.clone());
    let instruments = Instruments {
        scope: "test",
        registry: Arc::new(registry),
        integers: &[],
        names: &[],
    };
    (counter, push.unwrap().unwrap().start(instruments).unwrap())
}

fn push_to(endpoint: &str, more: &[(&str, &str)]) -> (Counter, Pushing) {
    let to = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)];
    push(&[&to[..], more].concat())
}

#[test]
fn without_the_switch_there_is_no_push() {
    let environment = Environment::of([("OTEL_EXPORTER_OTLP_ENDPOINT", "nonsense"), OFTEN]);
    assert!(MetricPush::from_environment("name", &environment).unwrap().is_none());
}

#[tokio::test]
async fn metrics_arrive_with_headers_and_who_sends_them() {
    let mut collector = Collector::start().await;
    let more = [
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "authorization=Bearer%20abc,content-type=text/plain",
        ),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=other,k8s.namespace.name=keda"),
        OFTEN,
    ];
    let (counter, pushing) = push_to(&collector.base(), &more);
    counter.inc_by(3);
    let mut received = collector.next_metrics().await;
    while received.count(NAME) != Some(3) {
        received = collector.next_metrics().await;
    }
    assert_eq!(received.authorization.as_deref(), Some("Bearer abc"));
    let resource = |name| received.resource(name);
    assert_eq!(resource("service.name").as_deref(), Some("keda-http-interceptor"));
    assert_eq!(resource("service.version").as_deref(), Some(env!("CARGO_PKG_VERSION")));
    assert_eq!(resource("k8s.namespace.name").as_deref(), Some("keda"));
    pushing.finish().await;
}

#[tokio::test]
async fn metrics_arrive_over_tls_that_a_given_authority_vouches_for() {
    let (mut collector, authority) = Collector::start_tls().await;
    let file = authority.path().to_str().unwrap();
    let (trusting, pushing) = push_to(&collector.base(), &[("OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE", file)]);
    trusting.inc();
    pushing.finish().await;
    assert_eq!(collector.next_metrics().await.count(NAME), Some(1));

    let (_, distrustful) = push_to(&collector.base(), &[]);
    distrustful.finish().await;
    assert!(collector.metrics.is_empty());
}

#[tokio::test]
async fn the_last_export_has_what_came_since_the_one_before() {
    let mut collector = Collector::start().await;
    let (counter, pushing) = push_to(&collector.base(), &[]); // The next one would be after a minute.
    counter.inc_by(5);
    pushing.finish().await;
    assert_eq!(collector.next_metrics().await.count(NAME), Some(5));
    assert!(collector.metrics.is_empty(), "an end is one export");
}

#[tokio::test]
async fn what_a_collector_missed_while_it_was_down_is_in_the_next_export() {
    let down = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = down.local_addr().unwrap();
    let (counter, pushing) = push_to(&format!("http://{address}"), &[OFTEN]);
    counter.inc_by(2);
    for _ in 0..2 {
        drop(down.accept().await.unwrap()); // Each one is an export that fails.
    }
    drop(down);
    let mut collector = Collector::start_at(address).await;
    counter.inc_by(3);
    let mut counts = Vec::new();
    while counts.last() != Some(&5) {
        counts.push(collector.next_metrics().await.count(NAME).unwrap());
    }
    assert!(counts.is_sorted() && counts[0] >= 2, "{counts:?}");

    let mut collector = collector.restart().await;
    counter.inc();
    while collector.next_metrics().await.count(NAME) != Some(6) {}
    pushing.finish().await;
}

/// Waits until an export is under way that will never be answered.
async fn unanswered(silent: &TcpListener) -> tokio::net::TcpStream {
    let (mut stream, _) = silent.accept().await.unwrap();
    assert_ne!(stream.read(&mut [0; 1]).await.unwrap(), 0);
    stream
}

async fn time_to_finish(pushing: Pushing) -> Duration {
    let begin = Instant::now();
    pushing.finish().await;
    begin.elapsed()
}

#[tokio::test]
async fn a_collector_that_never_answers_holds_the_end_up_no_longer_than_allowed() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let more = [OFTEN, ("OTEL_EXPORTER_OTLP_TIMEOUT", "600000")];
    let (_, pushing) = push_to(&format!("http://{}", silent.local_addr().unwrap()), &more);
    let _stuck = unanswered(&silent).await;
    let took = time_to_finish(pushing).await;
    assert!(took >= FLUSH_LIMIT && took < FLUSH_LIMIT + SLACK, "{took:?}");
}

#[tokio::test]
async fn a_collector_that_refuses_ends_the_push_at_once() {
    let closed: SocketAddr = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (_, pushing) = push_to(&format!("http://{closed}"), &[]);
    assert!(time_to_finish(pushing).await < FLUSH_LIMIT);
}

#[test]
fn a_push_can_be_dropped_anywhere() {
    let (_, outside) = push(&[]);
    drop(outside);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async { drop(push(&[])) });
}
