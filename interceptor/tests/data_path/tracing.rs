//! Spans, as a real OTLP receiver gets them.

use std::net::SocketAddr;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tonic::{Request, Response, Status};

use crate::support::*;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

struct Collector(mpsc::UnboundedSender<(String, Span)>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for resource in request.into_inner().resource_spans {
            let service = attribute(&resource.resource.unwrap_or_default().attributes, "service.name");
            for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                let _ = self.0.send((service.clone(), span));
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn attribute(attributes: &[opentelemetry_proto::tonic::common::v1::KeyValue], key: &str) -> String {
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    let found = attributes.iter().find(|attribute| attribute.key == key);
    match found.and_then(|attribute| attribute.value.as_ref()?.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::BoolValue(flag)) => flag.to_string(),
        Some(Value::IntValue(number)) => number.to_string(),
        _ => String::new(),
    }
}

async fn collector() -> (SocketAddr, mpsc::UnboundedReceiver<(String, Span)>) {
    let (sender, spans) = mpsc::unbounded_channel();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = TraceServiceServer::new(Collector(sender));
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(incoming),
    );
    (address, spans)
}

async fn traced(endpoint: &str, more: &[(&str, &str)]) -> Interceptor {
    let variables = [
        ("OTEL_EXPORTER_OTLP_TRACES_ENABLED", "true"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", endpoint),
        ("OTEL_BSP_SCHEDULE_DELAY", "20"),
    ];
    let variables: Vec<_> = variables.into_iter().chain(more.iter().copied()).collect();
    Interceptor::with(&variables).await
}

/// Collects spans of the test's trace until the server span, which ends last, has come.
async fn whole_trace(spans: &mut mpsc::UnboundedReceiver<(String, Span)>) -> Vec<Span> {
    let mut trace = Vec::new();
    soon("the whole trace", async {
        loop {
            let (service, span) = spans.recv().await.unwrap();
            assert_eq!(service, "keda-http-interceptor");
            let last = span.name == "keda-http-interceptor";
            trace.push(span);
            if last {
                return;
            }
        }
    })
    .await;
    trace
}

fn named<'a>(trace: &'a [Span], name: &str) -> &'a Span {
    let names: Vec<_> = trace.iter().map(|span| &span.name).collect();
    trace
        .iter()
        .find(|span| span.name == name)
        .unwrap_or_else(|| panic!("{name} in {names:?}"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn request(flags: &str) -> String {
    format!(
        "GET / HTTP/1.1\r\nhost: api.example\r\ntraceparent: 00-{TRACE}-{PARENT}-{flags}\r\nconnection: close\r\n\r\n"
    )
}

/// Answers with the `traceparent` it was sent.
async fn tells_its_parent() -> SocketAddr {
    let tell = |headers: axum::http::HeaderMap| async move {
        headers
            .get("traceparent")
            .map_or_else(String::new, |value| value.to_str().unwrap().to_owned())
    };
    app(axum::Router::new().fallback(tell)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cold_start_is_one_trace_with_its_stages() {
    let (address, mut spans) = collector().await;
    let interceptor = traced(&format!("http://{address}"), &[]).await;
    interceptor.idle("api").await;
    let mut scaler = keda_http_proto::pending::pending_requests_client::PendingRequestsClient::connect(format!(
        "http://{}",
        interceptor.bound.admin
    ))
    .await
    .unwrap();
    let mut reports = scaler
        .watch(keda_http_proto::pending::WatchRequest {})
        .await
        .unwrap()
        .into_inner();
    tokio::spawn(async move { while let Ok(Some(_)) = reports.message().await {} });
    let mut client = interceptor.send(&request("01")).await;
    interceptor.waiting("api", 1).await;
    // Longer than the interval of the reports: later ones must not count as the signal.
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    interceptor.manifests.ready("api", &[tells_its_parent().await]);
    let answer = client.read_to_end().await;
    let trace = whole_trace(&mut spans).await;
    let server = named(&trace, "keda-http-interceptor");
    assert_eq!(
        (hex(&server.trace_id), hex(&server.parent_span_id)),
        (TRACE.to_owned(), PARENT.to_owned())
    );
    assert_eq!(server.kind, 2, "server");
    assert_eq!(attribute(&server.attributes, "cold-start"), "true");
    assert_eq!(attribute(&server.attributes, "http.response.status_code"), "200");
    assert_eq!(attribute(&server.attributes, "keda.route.name"), "api");
    let wait = named(&trace, "cold start");
    assert_eq!((&wait.parent_span_id, wait.kind), (&server.span_id, 1));
    for stage in ["signal", "wait for endpoint", "connect"] {
        let stage = named(&trace, stage);
        assert_eq!(stage.parent_span_id, wait.span_id);
        assert!(
            stage.start_time_unix_nano >= wait.start_time_unix_nano
                && stage.end_time_unix_nano <= wait.end_time_unix_nano
        );
    }
    let (signal, ready) = (named(&trace, "signal"), named(&trace, "wait for endpoint"));
    assert!(
        signal.end_time_unix_nano + 250_000_000 < ready.end_time_unix_nano,
        "scalers were told long before"
    );
    let call = named(&trace, "HTTP GET");
    assert_eq!((&call.parent_span_id, call.kind), (&server.span_id, 3));
    assert_eq!(attribute(&call.attributes, "http.response.status_code"), "200");
    assert!(call.start_time_unix_nano >= wait.end_time_unix_nano);
    assert!(
        server.start_time_unix_nano <= wait.start_time_unix_nano
            && server.end_time_unix_nano >= call.end_time_unix_nano
    );
    assert!(
        answer.ends_with(&format!("00-{TRACE}-{}-01", hex(&call.span_id))),
        "the app is a child of the call: {answer}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_c12_the_spans_of_a_wake_do_not_wait_for_the_batch_delay() {
    let (address, mut spans) = collector().await;
    let interceptor = traced(&format!("http://{address}"), &[("OTEL_BSP_SCHEDULE_DELAY", "60000")]).await;
    interceptor.idle("api").await;
    let mut client = interceptor.send(&request("01")).await;
    interceptor.waiting("api", 1).await;
    interceptor.manifests.ready("api", &[says("hello").await]);
    client.read_to_end().await;
    let trace = whole_trace(&mut spans).await;
    for name in ["cold start", "wait for endpoint", "connect", "HTTP GET"] {
        named(&trace, name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warm_request_has_no_wait() {
    let (address, mut spans) = collector().await;
    let interceptor = traced(&format!("http://{address}"), &[]).await;
    interceptor.serve("api", says("hello").await).await;
    interceptor.send(&request("01")).await.read_to_end().await;
    let trace = whole_trace(&mut spans).await;
    assert_eq!(
        attribute(&named(&trace, "keda-http-interceptor").attributes, "cold-start"),
        "false"
    );
    assert_eq!(trace.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_parent_did_not_sample_passes_untouched_and_makes_no_span() {
    let (address, mut spans) = collector().await;
    let interceptor = traced(&format!("http://{address}"), &[]).await;
    interceptor.serve("api", tells_its_parent().await).await;
    let answer = interceptor.send(&request("00")).await.read_to_end().await;
    assert!(answer.ends_with(&format!("00-{TRACE}-{PARENT}-00")), "{answer}");
    interceptor.send(&request("01")).await.read_to_end().await;
    let trace = whole_trace(&mut spans).await;
    assert_eq!(trace.len(), 2, "only the sampled request's spans came");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_tracing_off_the_context_passes_as_it_came() {
    let interceptor = Interceptor::start().await;
    interceptor.serve("api", tells_its_parent().await).await;
    let answer = interceptor.send(&request("01")).await.read_to_end().await;
    assert!(answer.ends_with(&format!("00-{TRACE}-{PARENT}-01")), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_b13_a_refusal_without_ids_is_kept_and_passed_on() {
    let (address, mut spans) = collector().await;
    let propagators = [("OTEL_PROPAGATORS", "tracecontext,b3,b3multi")];
    let interceptor = traced(&format!("http://{address}"), &propagators).await;
    let repeat = |headers: axum::http::HeaderMap| async move {
        let names = ["b3", "x-b3-sampled", "x-b3-traceid", "traceparent"];
        let seen = names.map(|name| headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned());
        seen.join("|")
    };
    interceptor
        .serve("api", app(axum::Router::new().fallback(repeat)).await)
        .await;
    for (refusal, passed_on) in [("b3: 0", "0|||"), ("X-B3-Sampled: 0", "|0||")] {
        let request = format!("GET / HTTP/1.1\r\nhost: api.example\r\n{refusal}\r\nconnection: close\r\n\r\n");
        let answer = interceptor.send(&request).await.read_to_end().await;
        assert!(answer.ends_with(&format!("\r\n\r\n{passed_on}")), "{refusal}: {answer}");
    }
    // The only trace is that of a request without a refusal.
    let request = "GET /sampled HTTP/1.1\r\nhost: api.example\r\nconnection: close\r\n\r\n";
    interceptor.send(request).await.read_to_end().await;
    let trace = whole_trace(&mut spans).await;
    assert_eq!(trace.len(), 2, "{trace:?}");
    assert_eq!(
        attribute(&named(&trace, "keda-http-interceptor").attributes, "url.path"),
        "/sampled"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b3_is_understood_and_passed_on_when_asked_for() {
    let (address, mut spans) = collector().await;
    let interceptor = traced(&format!("http://{address}"), &[("OTEL_PROPAGATORS", "b3")]).await;
    let tell = |headers: axum::http::HeaderMap| async move { headers["b3"].to_str().unwrap().to_owned() };
    interceptor
        .serve("api", app(axum::Router::new().fallback(tell)).await)
        .await;
    let request = format!("GET / HTTP/1.1\r\nhost: api.example\r\nb3: {TRACE}-{PARENT}-1\r\nconnection: close\r\n\r\n");
    let answer = interceptor.send(&request).await.read_to_end().await;
    let trace = whole_trace(&mut spans).await;
    assert_eq!(hex(&named(&trace, "keda-http-interceptor").parent_span_id), PARENT);
    assert!(
        answer.contains(&format!("{TRACE}-{}-1", hex(&named(&trace, "HTTP GET").span_id))),
        "{answer}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_down_or_never_answers_costs_no_request() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for endpoint in [free_address(), silent.local_addr().unwrap()] {
        let interceptor = traced(
            &format!("http://{endpoint}"),
            &[
                ("OTEL_BSP_MAX_QUEUE_SIZE", "16"),
                ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4"),
            ],
        )
        .await;
        interceptor.serve("api", says("hello").await).await;
        for _ in 0..100 {
            assert!(
                interceptor
                    .send(&request("01"))
                    .await
                    .read_to_end()
                    .await
                    .ends_with("hello")
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_that_ends_in_vain_is_an_error_in_the_trace() {
    let (address, mut spans) = collector().await;
    let interceptor = traced(&format!("http://{address}"), &[("KEDA_HTTP_READINESS_TIMEOUT", "50ms")]).await;
    interceptor.idle("api").await;
    let answer = interceptor.send(&request("01")).await.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
    let trace = whole_trace(&mut spans).await;
    assert_eq!(named(&trace, "cold start").status.as_ref().unwrap().code, 2);
    assert_eq!(
        attribute(
            &named(&trace, "keda-http-interceptor").attributes,
            "http.response.status_code"
        ),
        "504"
    );
}
