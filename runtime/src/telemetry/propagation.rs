//! Trace context in headers, read and written by hand: extraction runs for every request, sampled or not.

use http::header::{Entry, HeaderMap, HeaderName, HeaderValue};
use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};

use crate::settings::{Kind, Settings};

mod b3;
mod baggage;
mod trace_context;

/// Which headers carry the trace context (`OTEL_PROPAGATORS`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Propagation {
    /// `tracecontext`: `traceparent` and `tracestate`.
    pub trace_context: bool,
    /// `baggage`: the header is passed on as it is, unless it is malformed or over-long.
    pub baggage: bool,
    /// `b3`: the single `b3` header.
    pub b3: bool,
    /// `b3multi`: the `X-B3-*` headers.
    pub b3_multi: bool,
}

impl Propagation {
    /// No headers at all (`none`).
    pub const NONE: Self = Self {
        trace_context: false,
        baggage: false,
        b3: false,
        b3_multi: false,
    };

    /// The default is `tracecontext,baggage`.
    pub(crate) fn read(settings: &Settings) -> Self {
        settings
            .variable("OTEL_PROPAGATORS", &KIND, "Headers that carry the trace context")
            .default(Self {
                trace_context: true,
                baggage: true,
                ..Self::NONE
            })
    }

    fn with(mut self, name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "tracecontext" => self.trace_context = true,
            "baggage" => self.baggage = true,
            "b3" => self.b3 = true,
            "b3multi" => self.b3_multi = true,
            "none" => {}
            _ => return None,
        }
        Some(self)
    }
}

const KIND: Kind<Propagation> = Kind {
    allowed: "a comma list of tracecontext, baggage, b3, b3multi and none",
    parse: |text| {
        let mut names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        names.try_fold(Propagation::NONE, Propagation::with)
    },
    show: |propagation| {
        let names = [
            (propagation.trace_context, "tracecontext"),
            (propagation.baggage, "baggage"),
            (propagation.b3, "b3"),
            (propagation.b3_multi, "b3multi"),
        ];
        let names: Vec<_> = names
            .iter()
            .filter_map(|(is_on, name)| is_on.then_some(*name))
            .collect();
        match names.is_empty() {
            true => "none".to_owned(),
            false => names.join(","),
        }
    },
};

/// What the caller of a request says about the trace that the request belongs to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Caller {
    /// The caller's span, when the headers name one.
    pub span: Option<SpanContext>,
    /// The caller's sampling decision, which B3 can send without a span. `None` leaves the decision to this program.
    pub sampled: Option<bool>,
}

/// A sampling decision of a caller that names no span, as a value of a [`Context`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct DecisionWithoutSpan {
    pub(crate) sampled: bool,
}

impl Caller {
    /// The context in which the server span of the request is started, so that the sampler sees the caller's decision.
    pub fn context(&self) -> Context {
        match (&self.span, self.sampled) {
            (Some(span), _) => Context::new().with_remote_span_context(span.clone()),
            (None, Some(sampled)) => Context::new().with_value(DecisionWithoutSpan { sampled }),
            (None, None) => Context::new(),
        }
    }

    fn without_span(sampled: bool) -> Self {
        Self {
            span: None,
            sampled: Some(sampled),
        }
    }
}

/// Reads what the caller says: `traceparent` first, then `b3`, then `X-B3-*`, as far as `propagation` allows. A
/// malformed or over-long header is treated as absent. B3 callers that send a span without a decision, or ask for
/// debugging, count as sampled.
pub fn extract(headers: &HeaderMap, propagation: Propagation) -> Caller {
    let trace_context = || trace_context::extract(headers);
    let b3 = || b3::extract_single(headers);
    let b3_multi = || b3::extract_multi(headers);
    let caller = propagation.trace_context.then(trace_context).flatten();
    let caller = caller.or_else(|| propagation.b3.then(b3).flatten());
    caller
        .or_else(|| propagation.b3_multi.then(b3_multi).flatten())
        .unwrap_or_default()
}

/// Writes the calling span into the headers, in every format of `propagation`, in place of what was there. Removes a
/// `baggage` that is malformed or over-long.
pub fn inject(context: &SpanContext, headers: &mut HeaderMap, propagation: Propagation) {
    if propagation.trace_context {
        trace_context::inject(context, headers);
    }
    if propagation.baggage {
        baggage::remove_invalid(headers);
    }
    if propagation.b3 {
        b3::inject_single(context, headers);
    }
    if propagation.b3_multi {
        b3::inject_multi(context, headers);
    }
}

/// The ids that a header names, and the decision of the caller.
#[derive(Debug, Clone, Copy)]
struct Parent {
    trace: TraceId,
    span: SpanId,
    sampled: bool,
}

impl Parent {
    fn new(trace: [u8; 16], span: [u8; 8], sampled: bool) -> Option<Self> {
        let (trace, span) = (TraceId::from_bytes(trace), SpanId::from_bytes(span));
        let valid = trace != TraceId::INVALID && span != SpanId::INVALID;
        valid.then_some(Self { trace, span, sampled })
    }

    fn into_caller(self, state: TraceState) -> Caller {
        let flags = TraceFlags::default().with_sampled(self.sampled);
        Caller {
            span: Some(SpanContext::new(self.trace, self.span, flags, true, state)),
            sampled: Some(self.sampled),
        }
    }
}

/// The value of a header; `None` when it is absent or repeated.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then(|| value.as_bytes())
}

/// Exactly `N` bytes as lower-case hexadecimal digits; upper case is refused, as the specification says.
fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

fn write_hex(bytes: &[u8], text: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (byte, pair) in bytes.iter().zip(text.chunks_exact_mut(2)) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

/// `traceid-spanid` into 49 bytes that are dashes.
fn write_ids(context: &SpanContext, text: &mut [u8]) {
    write_hex(&context.trace_id().to_bytes(), &mut text[..32]);
    write_hex(&context.span_id().to_bytes(), &mut text[33..49]);
}

fn insert(headers: &mut HeaderMap, name: &HeaderName, value: &[u8]) {
    if let Ok(value) = HeaderValue::from_bytes(value) {
        headers.insert(name, value);
    }
}

fn remove(headers: &mut HeaderMap, name: &HeaderName) {
    if let Entry::Occupied(entry) = headers.entry(name) {
        entry.remove_entry_mult();
    }
}

#[cfg(test)]
mod tests;
