//! What both apps do with spans.

use std::time::Duration;

use http::HeaderMap;
use keda_http_runtime::telemetry::propagation::Caller;
use keda_http_runtime::telemetry::{Tracing, propagation};
use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanKind, TraceContextExt, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::Span;

/// The name under which both apps are found in a tracing backend.
pub const SERVICE: &str = "http-call";

/// Makes spans. Cheap to clone.
#[derive(Clone)]
pub struct Spans {
    tracing: Option<Tracing>,
}

/// A span; ends when it is dropped.
pub struct Scope(Option<Span>);

impl Spans {
    /// Spans of a process; without [`Tracing`] nothing is made.
    pub fn new(tracing: Option<Tracing>) -> Self {
        Self { tracing }
    }

    /// The first span of a new trace.
    pub fn root(&self, name: &'static str, kind: SpanKind) -> Scope {
        self.start(name, kind, &Context::new())
    }

    /// A span below the caller's, whom the headers name.
    pub fn below_caller(&self, name: &'static str, kind: SpanKind, headers: &HeaderMap) -> Scope {
        let caller = match &self.tracing {
            Some(tracing) => propagation::extract(headers, tracing.propagation),
            None => Caller::default(),
        };
        self.start(name, kind, &caller.context())
    }

    /// A span below another one of this process.
    pub fn below(&self, name: &'static str, parent: &Scope) -> Scope {
        self.start(name, SpanKind::Internal, &below(parent.context()))
    }

    /// Names the span in the headers of a request.
    pub fn inject(&self, scope: &Scope, headers: &mut HeaderMap) {
        if let (Some(tracing), Some(context)) = (&self.tracing, scope.context()) {
            propagation::inject(&context, headers, tracing.propagation);
        }
    }

    /// An internal span that does nothing but last: the tutorial's calculation.
    pub async fn calculate(&self, name: &'static str, parent: &Scope, duration: Duration) {
        let mut span = self.below(name, parent);
        span.set("type", "calculation");
        span.event("Started calculation", &[]);
        tokio::time::sleep(duration).await;
        span.event("Finished calculation", &[KeyValue::new("answer", 42)]);
    }

    fn start(&self, name: &'static str, kind: SpanKind, context: &Context) -> Scope {
        Scope(self.tracing.as_ref().map(|tracing| {
            let builder = SpanBuilder::from_name(name).with_kind(kind);
            tracing.provider.tracer(SERVICE).build_with_context(builder, context)
        }))
    }
}

impl Scope {
    /// Sets an attribute.
    pub fn set(&mut self, name: &'static str, value: impl Into<opentelemetry::Value>) {
        if let Some(span) = &mut self.0 {
            span.set_attribute(KeyValue::new(name, value));
        }
    }

    /// Notes that something has happened.
    pub fn event(&mut self, name: &'static str, attributes: &[KeyValue]) {
        if let Some(span) = &mut self.0 {
            span.add_event(name, attributes.to_vec());
        }
    }

    /// The span's work has failed.
    pub fn fail(&mut self, reason: String) {
        if let Some(span) = &mut self.0 {
            span.set_status(opentelemetry::trace::Status::error(reason));
        }
    }

    fn context(&self) -> Option<SpanContext> {
        self.0.as_ref().map(|span| span.span_context().clone())
    }
}

fn below(parent: Option<SpanContext>) -> Context {
    parent.map_or_else(Context::new, |parent| Context::new().with_remote_span_context(parent))
}
