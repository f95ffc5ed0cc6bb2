//! Spans on standard output, one line each, for people.

use std::fmt::{self, Display, Formatter};
use std::io::Write;
use std::time::{Duration, SystemTime};

use opentelemetry::KeyValue;
use opentelemetry::trace::{SpanId, SpanKind, Status};
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{SpanData, SpanExporter};

/// Writes spans to standard output.
#[derive(Debug, Default)]
pub(super) struct Console;

impl SpanExporter for Console {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let lines: String = batch.iter().map(|span| format!("{}\n", Line(span))).collect();
        let mut out = std::io::stdout().lock();
        let written = out.write_all(lines.as_bytes()).and_then(|()| out.flush());
        written.map_err(|error| OTelSdkError::InternalFailure(error.to_string()))
    }
}

/// One span as one line.
struct Line<'a>(&'a SpanData);

impl Display for Line<'_> {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let span = self.0;
        let duration = span.end_time.duration_since(span.start_time).unwrap_or_default();
        write!(formatter, "span {:?} {}", span.name, kind(&span.span_kind))?;
        write!(
            formatter,
            " trace={} span={}",
            span.span_context.trace_id(),
            span.span_context.span_id()
        )?;
        if span.parent_span_id != SpanId::INVALID {
            write!(formatter, " parent={}", span.parent_span_id)?;
        }
        write!(
            formatter,
            " start={} duration={}",
            time(span.start_time),
            milliseconds(duration)
        )?;
        match &span.status {
            Status::Unset => {}
            Status::Ok => write!(formatter, " status=ok")?,
            Status::Error { description } => write!(formatter, " status=error({description:?})")?,
        }
        for attribute in &span.attributes {
            write!(formatter, " {}", pair(attribute))?;
        }
        for event in &span.events.events {
            let after = event.timestamp.duration_since(span.start_time).unwrap_or_default();
            write!(formatter, " event={:?}@{}", event.name, milliseconds(after))?;
        }
        Ok(())
    }
}

fn kind(kind: &SpanKind) -> &'static str {
    match kind {
        SpanKind::Client => "client",
        SpanKind::Server => "server",
        SpanKind::Producer => "producer",
        SpanKind::Consumer => "consumer",
        SpanKind::Internal => "internal",
    }
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.3}ms", duration.as_secs_f64() * 1000.0)
}

/// Text is quoted and escaped, so that a value from outside cannot make lines of its own.
fn pair(attribute: &KeyValue) -> String {
    match &attribute.value {
        opentelemetry::Value::String(text) => format!("{}={:?}", attribute.key, text.as_str()),
        other => format!("{}={other}", attribute.key),
    }
}

fn time(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map_or_else(|_| "?".to_owned(), |time| format!("{time:.6}"))
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use opentelemetry::InstrumentationScope;
    use opentelemetry::trace::{Event, SpanContext, TraceFlags, TraceId, TraceState};
    use opentelemetry_sdk::trace::{SpanEvents, SpanLinks};

    use super::*;

    fn span() -> SpanData {
        let start_time = UNIX_EPOCH + Duration::from_micros(1_700_000_000_000_250);
        let ids = (TraceId::from(0xabc_u128), SpanId::from(0x12_u64));
        SpanData {
            span_context: SpanContext::new(ids.0, ids.1, TraceFlags::SAMPLED, false, TraceState::NONE),
            parent_span_id: SpanId::from(0x34_u64),
            parent_span_is_remote: true,
            span_kind: SpanKind::Server,
            name: "keda-http-interceptor".into(),
            start_time,
            end_time: start_time + Duration::from_micros(1_500_250),
            attributes: vec![KeyValue::new("status", 200), KeyValue::new("path", "/a\nspan b")],
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::error("no endpoint"),
            instrumentation_scope: InstrumentationScope::default(),
        }
    }

    #[test]
    fn one_line_describes_a_span() {
        let mut span = span();
        let event = Event::new("ready", span.start_time + Duration::from_millis(250), Vec::new(), 0);
        span.events.events.push(event);
        let expected = "span \"keda-http-interceptor\" server trace=00000000000000000000000000000abc \
                        span=0000000000000012 parent=0000000000000034 start=2023-11-14T22:13:20.000250Z \
                        duration=1500.250ms status=error(\"no endpoint\") status=200 path=\"/a\\nspan b\" \
                        event=\"ready\"@250.000ms";
        assert_eq!(Line(&span).to_string(), expected);
    }

    #[test]
    fn a_root_span_names_no_parent() {
        let mut root = span();
        root.parent_span_id = SpanId::INVALID;
        root.status = Status::Unset;
        let line = Line(&root).to_string();
        assert!(!line.contains("parent=") && !line.contains("status=error"), "{line}");
    }
}
