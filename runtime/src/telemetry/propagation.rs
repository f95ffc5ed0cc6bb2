//! Trace context in headers, read and written by hand: this runs for every request, also for those that are not sampled.

use std::str::FromStr;

use http::header::{Entry, HeaderMap, HeaderName, HeaderValue};
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

use crate::env::{EnvError, Environment};

static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
static B3: HeaderName = HeaderName::from_static("b3");
static B3_TRACE_ID: HeaderName = HeaderName::from_static("x-b3-traceid");
static B3_SPAN_ID: HeaderName = HeaderName::from_static("x-b3-spanid");
static B3_PARENT_SPAN_ID: HeaderName = HeaderName::from_static("x-b3-parentspanid");
static B3_SAMPLED: HeaderName = HeaderName::from_static("x-b3-sampled");
static B3_FLAGS: HeaderName = HeaderName::from_static("x-b3-flags");

/// Which headers carry the trace context (`OTEL_PROPAGATORS`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Propagation {
    /// `tracecontext`: `traceparent` and `tracestate`.
    pub trace_context: bool,
    /// `baggage`: the header is passed on as it is.
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
    pub(crate) fn from_environment(environment: &Environment) -> Result<Self, EnvError> {
        const NAME: &str = "OTEL_PROPAGATORS";
        let allowed = "a comma list of tracecontext, baggage, b3, b3multi and none";
        let given = environment.parsed(NAME, allowed, |_| {
            let names = environment.list(NAME);
            names
                .iter()
                .try_fold(Self::NONE, |propagation, name| propagation.with(name).ok_or(()))
        })?;
        Ok(given.unwrap_or(Self {
            trace_context: true,
            baggage: true,
            ..Self::NONE
        }))
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

/// Who calls: the ids of a header, and what the caller decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Parent {
    trace: TraceId,
    span: SpanId,
    sampled: bool,
}

/// The caller's span: `traceparent` first, then `b3`, then `X-B3-*`, as far as `propagation` allows. A malformed header
/// is as if absent. B3 callers that leave the decision to us, or ask for debugging, count as sampled.
pub fn extract(headers: &HeaderMap, propagation: Propagation) -> Option<SpanContext> {
    if propagation.trace_context
        && let Some(parent) = trace_context(headers)
    {
        return Some(parent.context(trace_state(headers)));
    }
    let b3 = propagation.b3.then(|| b3_single(headers)).flatten();
    let parent = b3.or_else(|| propagation.b3_multi.then(|| b3_multi(headers)).flatten());
    parent.map(|parent| parent.context(TraceState::NONE))
}

/// What the caller decided, without making anything: `Some(true)` when it says that the trace is not sampled,
/// `Some(false)` when it says that it is, `None` when it says nothing that can be read.
pub fn is_sampled_out(headers: &HeaderMap, propagation: Propagation) -> Option<bool> {
    if propagation.trace_context
        && let Some(parent) = trace_context(headers)
    {
        return Some(!parent.sampled);
    }
    if propagation.b3
        && let Some(sampled) = b3_single_decision(headers)
    {
        return Some(!sampled);
    }
    if !propagation.b3_multi {
        return None;
    }
    match b3_multi(headers) {
        Some(parent) => Some(!parent.sampled),
        // B3 allows a refusal that names no trace.
        None => (b3_multi_sampled(headers) == Some(false)).then_some(true),
    }
}

/// Writes the span that calls into the headers, in every format of `propagation`, in place of what was there.
pub fn inject(context: &SpanContext, headers: &mut HeaderMap, propagation: Propagation) {
    if propagation.trace_context {
        inject_trace_context(context, headers);
    }
    if propagation.b3 {
        let mut text = [b'-'; 32 + 1 + 16 + 1 + 1];
        write_ids(context, &mut text[..49]);
        text[50] = if context.is_sampled() { b'1' } else { b'0' };
        insert(headers, &B3, &text);
    }
    if propagation.b3_multi {
        inject_b3_multi(context, headers);
    }
}

impl Parent {
    fn new(trace: [u8; 16], span: [u8; 8], sampled: bool) -> Option<Self> {
        let (trace, span) = (TraceId::from_bytes(trace), SpanId::from_bytes(span));
        let valid = trace != TraceId::INVALID && span != SpanId::INVALID;
        valid.then_some(Self { trace, span, sampled })
    }

    fn context(self, state: TraceState) -> SpanContext {
        let flags = TraceFlags::default().with_sampled(self.sampled);
        SpanContext::new(self.trace, self.span, flags, true, state)
    }
}

/// W3C Trace Context, level 1, section 3.2: `version-traceid-parentid-flags`; a later version may append more after a dash.
fn trace_context(headers: &HeaderMap) -> Option<Parent> {
    let text = single(headers, &TRACEPARENT)?;
    let dashes = [2, 35, 52].iter().all(|at| text.get(*at) == Some(&b'-'));
    let [version] = hex(text.get(..2)?)?;
    let ends = match version {
        0 => text.len() == 55,
        255 => false,
        _ => text.get(55).is_none_or(|next| *next == b'-'),
    };
    if !dashes || !ends {
        return None;
    }
    let [flags] = hex(text.get(53..55)?)?;
    Parent::new(hex(text.get(3..35)?)?, hex(text.get(36..52)?)?, flags & 1 == 1)
}

/// The caller's `tracestate`; a malformed one is dropped and the rest kept (section 3.3).
fn trace_state(headers: &HeaderMap) -> TraceState {
    let mut values = headers
        .get_all(&TRACESTATE)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let Some(first) = values.next() else {
        return TraceState::NONE;
    };
    let state = match values.next() {
        None => TraceState::from_str(first),
        Some(second) => {
            let all: Vec<_> = [first, second].into_iter().chain(values).collect();
            TraceState::from_str(&all.join(","))
        }
    };
    state.unwrap_or_default()
}

/// `traceid-spanid[-decision[-parent]]`.
fn b3_single(headers: &HeaderMap) -> Option<Parent> {
    let text = single(headers, &B3)?;
    let mut parts = text.split(|byte| *byte == b'-');
    let (trace, span) = (b3_trace_id(parts.next()?)?, hex(parts.next()?)?);
    let sampled = match parts.next() {
        None => true,
        Some(decision) => b3_decision(decision)?,
    };
    let _parent = parts.next();
    parts
        .next()
        .is_none()
        .then(|| Parent::new(trace, span, sampled))
        .flatten()
}

fn b3_single_decision(headers: &HeaderMap) -> Option<bool> {
    match b3_single(headers) {
        Some(parent) => Some(parent.sampled),
        None => (single(headers, &B3)? == b"0").then_some(false),
    }
}

fn b3_multi(headers: &HeaderMap) -> Option<Parent> {
    let trace = b3_trace_id(single(headers, &B3_TRACE_ID)?)?;
    let span = hex(single(headers, &B3_SPAN_ID)?)?;
    let debug = single(headers, &B3_FLAGS) == Some(b"1");
    let sampled = debug || b3_multi_sampled(headers).unwrap_or(true);
    Parent::new(trace, span, sampled)
}

fn b3_multi_sampled(headers: &HeaderMap) -> Option<bool> {
    match single(headers, &B3_SAMPLED)? {
        b"true" => Some(true),
        b"false" => Some(false),
        decision => b3_decision(decision),
    }
}

/// `d` is debugging: sampled, whatever else.
fn b3_decision(text: &[u8]) -> Option<bool> {
    match text {
        b"1" | b"d" => Some(true),
        b"0" => Some(false),
        _ => None,
    }
}

/// 16 bytes, or the lower 8 of them.
fn b3_trace_id(text: &[u8]) -> Option<[u8; 16]> {
    if text.len() != 16 {
        return hex(text);
    }
    let lower: [u8; 8] = hex(text)?;
    Some(u128::from(u64::from_be_bytes(lower)).to_be_bytes())
}

/// The value of a header that may be there only once.
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

fn inject_trace_context(context: &SpanContext, headers: &mut HeaderMap) {
    let mut text = [b'-'; 55];
    text[..2].copy_from_slice(b"00");
    write_ids(context, &mut text[3..52]);
    text[53..].copy_from_slice(if context.is_sampled() { b"01" } else { b"00" });
    insert(headers, &TRACEPARENT, &text);
    if context.trace_state() == &TraceState::NONE {
        remove(headers, &TRACESTATE);
    } else {
        insert(headers, &TRACESTATE, context.trace_state().header().as_bytes());
    }
}

fn inject_b3_multi(context: &SpanContext, headers: &mut HeaderMap) {
    let mut ids = [b'-'; 49];
    write_ids(context, &mut ids);
    insert(headers, &B3_TRACE_ID, &ids[..32]);
    insert(headers, &B3_SPAN_ID, &ids[33..]);
    insert(headers, &B3_SAMPLED, if context.is_sampled() { b"1" } else { b"0" });
    remove(headers, &B3_PARENT_SPAN_ID);
    remove(headers, &B3_FLAGS);
}

#[cfg(test)]
mod tests;
