//! The request's OpenTelemetry spans: decided first, made only when the request is sampled.
//!
//! `keda-http-interceptor` (server) covers the whole request, `cold start` (internal) the wait with its stages, and
//! `HTTP <method>` (client) the call to the endpoint. A request that is not sampled costs a look at one header.

use std::time::{Duration, Instant, SystemTime};

use http::{HeaderMap, Request};
use keda_http_kubernetes::endpoints::Address;
use keda_http_runtime::telemetry::{PromptExport, Propagation, Sampling, Tracing, propagation};
use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_sdk::trace::{SdkTracer, Span};

use crate::upstream::ConnectStages;

/// The name of the span that the whole request is, and of the service.
pub(crate) const SERVER_SPAN: &str = "keda-http-interceptor";
/// The name of the span that the wait is.
pub(crate) const COLD_START_SPAN: &str = "cold start";
/// The stage from the arrival until a report of it left for the scalers.
pub(crate) const SIGNAL_STAGE: &str = "signal";
/// The stage until an endpoint was ready.
pub(crate) const READY_STAGE: &str = "wait for endpoint";
/// The stage from the ready endpoint to the connection.
pub(crate) const CONNECT_STAGE: &str = "connect";

/// Makes the spans of requests. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Spans {
    tracer: SdkTracer,
    propagation: Propagation,
    sampling: Sampling,
    prompt: PromptExport,
}

/// The spans of one sampled request.
pub(crate) struct RequestSpan {
    spans: Spans,
    server: Span,
    client: Option<Span>,
}

impl Spans {
    /// Spans by the settings of the process.
    pub(crate) fn new(tracing: &Tracing) -> Self {
        Self {
            tracer: tracing.provider.tracer("keda-http-interceptor"),
            propagation: tracing.propagation,
            sampling: tracing.sampling,
            prompt: tracing.prompt.clone(),
        }
    }

    /// The server span of a request; `None` when the request is not sampled: its headers then pass as they are.
    pub(crate) fn begin<B>(&self, request: &Request<B>) -> Option<Box<RequestSpan>> {
        let caller = propagation::extract(request.headers(), self.propagation);
        if !self.sampling.may_sample(&caller) {
            return None;
        }
        let builder = SpanBuilder::from_name(SERVER_SPAN)
            .with_kind(SpanKind::Server)
            .with_attributes(server_attributes(request));
        let server = self.tracer.build_with_context(builder, &caller.context());
        server.span_context().is_sampled().then(|| {
            Box::new(RequestSpan {
                spans: self.clone(),
                server,
                client: None,
            })
        })
    }

    fn child(
        &self,
        parent: &SpanContext,
        name: impl Into<std::borrow::Cow<'static, str>>,
        kind: SpanKind,
        start: SystemTime,
    ) -> Span {
        let builder = SpanBuilder::from_name(name).with_kind(kind).with_start_time(start);
        let parent = Context::new().with_remote_span_context(parent.clone());
        self.tracer.build_with_context(builder, &parent)
    }
}

fn server_attributes<B>(request: &Request<B>) -> Vec<KeyValue> {
    let header = |name| {
        request
            .headers()
            .get(name)
            .and_then(|value: &http::HeaderValue| value.to_str().ok())
    };
    let mut attributes = vec![
        KeyValue::new("http.request.method", method_name(request.method())),
        KeyValue::new("url.path", request.uri().path().to_owned()),
        KeyValue::new("url.scheme", "http"),
    ];
    if let Some(host) = header(http::header::HOST) {
        attributes.push(KeyValue::new("server.address", host.to_owned()));
    }
    if let Some(agent) = header(http::header::USER_AGENT) {
        attributes.push(KeyValue::new("user_agent.original", agent.to_owned()));
    }
    attributes
}

/// The method as an attribute: one text for each of the standard's, without an allocation.
fn method_name(method: &http::Method) -> Value {
    match method.as_str() {
        "GET" => "GET".into(),
        "POST" => "POST".into(),
        "PUT" => "PUT".into(),
        "HEAD" => "HEAD".into(),
        "DELETE" => "DELETE".into(),
        "PATCH" => "PATCH".into(),
        "OPTIONS" => "OPTIONS".into(),
        _ => "_OTHER".into(),
    }
}

impl RequestSpan {
    pub(crate) fn set_route(&mut self, namespace: &str, name: &str, service: &str) {
        self.server
            .set_attribute(KeyValue::new("keda.route.namespace", namespace.to_owned()));
        self.server
            .set_attribute(KeyValue::new("keda.route.name", name.to_owned()));
        self.server
            .set_attribute(KeyValue::new("keda.service.name", service.to_owned()));
    }

    /// The request had to wait: the wait and its stages, made when the wait has ended. All of them are counted from the
    /// arrival, because the report often leaves before the request finds out that it has to wait.
    pub(crate) fn add_wait(
        &mut self,
        arrived: Instant,
        signalled: Option<Instant>,
        stages: &ConnectStages,
        error: Option<String>,
    ) {
        let clock = Clock::now();
        let server = self.server.span_context().clone();
        let mut wait = self
            .spans
            .child(&server, COLD_START_SPAN, SpanKind::Internal, clock.at(arrived));
        let parent = wait.span_context().clone();
        if let Some(signalled) = signalled {
            self.stage(&parent, SIGNAL_STAGE, clock.at(arrived), clock.at(signalled));
        }
        let ready = stages.ready.map(|ready| clock.at(ready.into_std()));
        self.stage(&parent, READY_STAGE, clock.at(arrived), ready.unwrap_or(clock.wall));
        if let Some(ready) = ready {
            self.stage(&parent, CONNECT_STAGE, ready, clock.wall);
        }
        for (at, failure) in &stages.failures {
            wait.add_event_with_timestamp(
                "dial failed",
                clock.at(at.into_std()),
                vec![KeyValue::new("error.message", failure.clone())],
            );
        }
        if let Some(error) = error {
            wait.set_status(Status::error(error));
        }
        wait.end_with_timestamp(clock.wall);
        // Wakes are rare, and somebody may be looking at this one.
        self.spans.prompt.request();
    }

    fn stage(&self, parent: &SpanContext, name: &'static str, start: SystemTime, end: SystemTime) {
        let mut stage = self.spans.child(parent, name, SpanKind::Internal, start);
        stage.end_with_timestamp(end);
    }

    /// The call to the endpoint begins; the endpoint becomes a child of it.
    pub(crate) fn begin_call(&mut self, method: &http::Method, endpoint: &Address, headers: &mut HeaderMap) {
        let server = self.server.span_context().clone();
        let mut client = self
            .spans
            .child(&server, client_name(method), SpanKind::Client, SystemTime::now());
        client.set_attribute(KeyValue::new("http.request.method", method_name(method)));
        client.set_attribute(KeyValue::new("server.address", endpoint.host().into_owned()));
        client.set_attribute(KeyValue::new("server.port", i64::from(endpoint.port())));
        propagation::inject(client.span_context(), headers, self.spans.propagation);
        self.client = Some(client);
    }

    pub(crate) fn set_call_status(&mut self, status: http::StatusCode) {
        if let Some(client) = &mut self.client {
            client.set_attribute(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
            if status.is_server_error() {
                client.set_status(Status::error(""));
            }
        }
    }

    pub(crate) fn fail_call(&mut self, error: &str) {
        if let Some(mut client) = self.client.take() {
            client.set_status(Status::error(error.to_owned()));
            client.end();
        }
    }

    /// The request has ended. Without a status the client went away.
    pub(crate) fn end(mut self: Box<Self>, status: Option<u16>, cold: bool) {
        if let Some(mut client) = self.client.take() {
            client.end();
        }
        self.server
            .set_attribute(KeyValue::new("service", "keda-http-interceptor-proxy-upstream"));
        self.server.set_attribute(KeyValue::new("cold-start", cold));
        match status {
            Some(status) => {
                self.server
                    .set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
                if status >= 500 {
                    self.server.set_status(Status::error(""));
                }
            }
            None => self.server.set_status(Status::error("the client went away")),
        }
        self.server.end();
        if cold {
            self.spans.prompt.request();
        }
    }
}

fn client_name(method: &http::Method) -> std::borrow::Cow<'static, str> {
    match method.as_str() {
        "GET" => "HTTP GET".into(),
        "POST" => "HTTP POST".into(),
        other => format!("HTTP {other}").into(),
    }
}

/// Turns monotonic times into wall-clock times, which spans have.
struct Clock {
    monotonic: Instant,
    wall: SystemTime,
}

impl Clock {
    fn now() -> Self {
        Self {
            monotonic: Instant::now(),
            wall: SystemTime::now(),
        }
    }

    fn at(&self, instant: Instant) -> SystemTime {
        let ago: Duration = self.monotonic.saturating_duration_since(instant);
        self.wall.checked_sub(ago).unwrap_or(self.wall)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use opentelemetry_sdk::error::OTelSdkResult;
    use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
    use parking_lot::Mutex;

    use super::*;

    #[derive(Debug, Default, Clone)]
    struct Collected(Arc<Mutex<Vec<SpanData>>>);

    impl SpanExporter for Collected {
        async fn export(&self, spans: Vec<SpanData>) -> OTelSdkResult {
            self.0.lock().extend(spans);
            Ok(())
        }
    }

    #[test]
    fn fault_c10_the_signal_lasts_from_the_arrival_to_the_report() {
        let collected = Collected::default();
        let provider = SdkTracerProvider::builder()
            .with_simple_exporter(collected.clone())
            .build();
        let spans = Spans::new(&Tracing {
            prompt: PromptExport::new(provider.clone()),
            provider,
            propagation: Propagation::NONE,
            sampling: Sampling {
                parent_based: true,
                root_ratio: 1.0,
            },
        });
        let mut span = spans.begin(&Request::new(())).unwrap();
        let arrived = Instant::now().checked_sub(Duration::from_millis(50)).unwrap();
        span.add_wait(
            arrived,
            Some(arrived + Duration::from_micros(30)),
            &ConnectStages::default(),
            None,
        );
        let spans = collected.0.lock();
        let duration = |name: &str| {
            let span = spans.iter().find(|span| span.name == name).unwrap();
            span.end_time.duration_since(span.start_time).unwrap()
        };
        assert_eq!(duration(SIGNAL_STAGE), Duration::from_micros(30));
        assert!(duration(READY_STAGE) >= Duration::from_millis(50));
        assert_eq!(duration(COLD_START_SPAN), duration(READY_STAGE));
    }
}
