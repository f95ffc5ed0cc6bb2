//! Metrics, as a real OTLP receiver gets them.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{HistogramDataPoint, Metric};
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::support::*;

const COUNT: &str = "interceptor.request.count";
const DURATION: &str = "interceptor.request.duration";
const CONCURRENCY: &str = "interceptor.request.concurrency";

type Attributes = BTreeMap<String, Value>;

async fn collector() -> (SocketAddr, UnboundedReceiver<Vec<Metric>>) {
    let take = async |State(sender): State<UnboundedSender<_>>, body: Bytes| {
        let mut request = ExportMetricsServiceRequest::decode(body).unwrap();
        let mut resource = request.resource_metrics.remove(0);
        let service = attributes(&resource.resource.unwrap().attributes);
        assert_eq!(service["service.name"], text("keda-http-interceptor"));
        let _ = sender.send(resource.scope_metrics.remove(0).metrics);
    };
    let (sender, received) = unbounded_channel();
    let router = axum::Router::new().route("/v1/metrics", post(take)).with_state(sender);
    (app(router).await, received)
}

async fn pushing(collector: SocketAddr, interval: &str) -> Interceptor {
    let endpoint = format!("http://{collector}");
    Interceptor::with(&[
        ("OTEL_EXPORTER_OTLP_METRICS_ENABLED", "true"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
        ("OTEL_METRIC_EXPORT_INTERVAL", interval),
    ])
    .await
}

fn attributes(attributes: &[KeyValue]) -> Attributes {
    let pair = |attribute: &KeyValue| Some((attribute.key.clone(), attribute.value.clone()?.value?));
    attributes.iter().filter_map(pair).collect()
}

fn text(text: &str) -> Value {
    Value::StringValue(text.to_owned())
}

fn named<'a>(export: &'a [Metric], name: &str) -> Option<&'a Metric> {
    export.iter().find(|metric| metric.name == name)
}

/// The series of a counter or a gauge.
fn numbers(export: &[Metric], name: &str) -> Vec<(Attributes, i64)> {
    let points = match named(export, name).and_then(|metric| metric.data.as_ref()) {
        Some(Data::Sum(sum)) => &sum.data_points,
        Some(Data::Gauge(gauge)) => &gauge.data_points,
        _ => return Vec::new(),
    };
    let series = points.iter().map(|point| match point.value {
        Some(Number::AsInt(value)) => (attributes(&point.attributes), value),
        _ => panic!("{point:?}"),
    });
    series.collect()
}

fn total(export: &[Metric], name: &str, route: &str) -> i64 {
    let series = numbers(export, name).into_iter();
    let of_route = series.filter(|(attributes, _)| attributes["route_name"] == text(route));
    of_route.map(|(_, value)| value).sum()
}

fn durations(export: &[Metric]) -> Vec<HistogramDataPoint> {
    match named(export, DURATION).and_then(|metric| metric.data.clone()) {
        Some(Data::Histogram(histogram)) => histogram.data_points,
        _ => Vec::new(),
    }
}

/// The first export of which this is true.
async fn export_with(
    received: &mut UnboundedReceiver<Vec<Metric>>,
    what: &str,
    is_true: impl Fn(&[Metric]) -> bool,
) -> Vec<Metric> {
    soon(what, async {
        loop {
            let export = received.recv().await.unwrap();
            if is_true(&export) {
                return export;
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_counted_in_what_the_collector_gets() {
    let (address, mut received) = collector().await;
    let interceptor = pushing(address, "20").await;
    interceptor.serve("api", says("hello").await).await;
    for _ in 0..3 {
        assert_eq!(interceptor.get("api.example", "/").await.status(), 200);
    }
    let export = export_with(&mut received, "the count", |export| total(export, COUNT, "api") >= 3).await;
    let expected = Attributes::from([
        ("code".to_owned(), Value::IntValue(200)),
        ("method".to_owned(), text("GET")),
        ("route_name".to_owned(), text("api")),
        ("route_namespace".to_owned(), text("shop")),
        ("cold_start".to_owned(), text("false")),
    ]);
    assert_eq!(numbers(&export, COUNT), [(expected.clone(), 3)]);
    let timed = durations(&export);
    assert_eq!((timed.len(), timed[0].count), (1, 3));
    assert_eq!(attributes(&timed[0].attributes), expected);
    assert_eq!(timed[0].bucket_counts.len(), timed[0].explicit_bounds.len() + 1);
    assert_eq!(timed[0].bucket_counts.iter().sum::<u64>(), 3);
    assert_eq!(named(&export, DURATION).unwrap().unit, "s");
    assert!(export.iter().all(|metric| !metric.name.contains("target")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_wait_are_in_the_concurrency() {
    let (address, mut received) = collector().await;
    let interceptor = pushing(address, "20").await;
    interceptor.idle("api").await;
    let _client = interceptor.send("GET / HTTP/1.1\r\nhost: api.example\r\n\r\n").await;
    let export = export_with(&mut received, "the wait", |export| {
        total(export, CONCURRENCY, "api") == 1
    })
    .await;
    let expected = Attributes::from([
        ("route_name".to_owned(), text("api")),
        ("route_namespace".to_owned(), text("shop")),
    ]);
    assert_eq!(numbers(&export, CONCURRENCY), [(expected, 1)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_requests_are_pushed_at_the_end() {
    let (address, mut received) = collector().await;
    let interceptor = pushing(address, "3600000").await;
    interceptor.serve("api", says("hello").await).await;
    for _ in 0..2 {
        assert_eq!(interceptor.get("api.example", "/").await.status(), 200);
    }
    assert!(received.is_empty(), "the next export would be in an hour");
    interceptor.stop().await.unwrap();
    let export = received.try_recv().unwrap();
    assert_eq!(total(&export, COUNT, "api"), 2);
    assert_eq!(durations(&export)[0].count, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_down_or_never_answers_costs_no_request() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for collector in [free_address(), silent.local_addr().unwrap()] {
        let interceptor = pushing(collector, "1").await;
        interceptor.serve("api", says("hello").await).await;
        for _ in 0..100 {
            assert_eq!(interceptor.get("api.example", "/").await.status(), 200);
        }
        assert!(interceptor.metrics().await.contains("interceptor_request_count_total{"));
    }
}
