//! The part of an OTLP span that is drawn and checked.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind as WireKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{Span as Wire, Status};

/// A span that has ended.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Span {
    /// The trace, in hexadecimal digits.
    pub trace: String,
    /// The span, in hexadecimal digits.
    pub id: String,
    /// Its parent; empty for a root.
    pub parent: String,
    pub name: String,
    pub service: String,
    pub kind: SpanKind,
    /// Nanoseconds since 1970.
    pub start: u64,
    /// Nanoseconds since 1970.
    pub end: u64,
    /// Attributes as texts.
    pub attributes: Vec<(String, String)>,
    /// The message of an error status, which may be empty; `None` for any other status.
    pub error: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SpanKind {
    /// Work within a service.
    #[default]
    Internal,
    /// A request that is served.
    Server,
    /// A request that is made.
    Client,
    Producer,
    Consumer,
}

impl SpanKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::Server => "server",
            Self::Client => "client",
            Self::Producer => "producer",
            Self::Consumer => "consumer",
        }
    }
}

impl Span {
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

pub fn spans(export: ExportTraceServiceRequest) -> Vec<Span> {
    let mut spans = Vec::new();
    for resource in export.resource_spans {
        let service = service_of(resource.resource.as_ref());
        let scopes = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
        spans.extend(scopes.map(|span| read(span, &service)));
    }
    spans
}

fn service_of(resource: Option<&Resource>) -> String {
    let attributes = resource.map(|resource| texts(&resource.attributes)).unwrap_or_default();
    let name = attributes.into_iter().find(|(key, _)| key == "service.name");
    name.map_or_else(|| "unknown".to_owned(), |(_, name)| name)
}

fn read(span: Wire, service: &str) -> Span {
    Span {
        kind: kind(span.kind()),
        trace: hexadecimal(&span.trace_id),
        id: hexadecimal(&span.span_id),
        parent: hexadecimal(&span.parent_span_id),
        name: span.name,
        service: service.to_owned(),
        start: span.start_time_unix_nano,
        end: span.end_time_unix_nano,
        attributes: texts(&span.attributes),
        error: span.status.and_then(error),
    }
}

fn kind(kind: WireKind) -> SpanKind {
    match kind {
        WireKind::Unspecified | WireKind::Internal => SpanKind::Internal,
        WireKind::Server => SpanKind::Server,
        WireKind::Client => SpanKind::Client,
        WireKind::Producer => SpanKind::Producer,
        WireKind::Consumer => SpanKind::Consumer,
    }
}

fn error(status: Status) -> Option<String> {
    (status.code() == StatusCode::Error).then_some(status.message)
}

/// All zeros is no id.
fn hexadecimal(bytes: &[u8]) -> String {
    if bytes.iter().all(|byte| *byte == 0) {
        return String::new();
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn texts(attributes: &[KeyValue]) -> Vec<(String, String)> {
    attributes
        .iter()
        .map(|pair| (pair.key.clone(), text(pair.value.as_ref())))
        .collect()
}

fn text(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::BoolValue(value)) => value.to_string(),
        Some(Value::IntValue(value)) => value.to_string(),
        Some(Value::DoubleValue(value)) => value.to_string(),
        Some(Value::ArrayValue(array)) => {
            let texts: Vec<String> = array.values.iter().map(|value| text(Some(value))).collect();
            texts.join(",")
        }
        Some(_) => "…".to_owned(),
        None => String::new(),
    }
}
