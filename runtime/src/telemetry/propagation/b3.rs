//! B3 of Zipkin (github.com/openzipkin/b3-propagation): the single `b3` header, and the `X-B3-*` headers.

use http::header::{HeaderMap, HeaderName};
use opentelemetry::trace::{SpanContext, TraceState};

use super::{Caller, Parent, hex, insert, remove, single, write_ids};

static B3: HeaderName = HeaderName::from_static("b3");
static TRACE_ID: HeaderName = HeaderName::from_static("x-b3-traceid");
static SPAN_ID: HeaderName = HeaderName::from_static("x-b3-spanid");
static PARENT_SPAN_ID: HeaderName = HeaderName::from_static("x-b3-parentspanid");
static SAMPLED: HeaderName = HeaderName::from_static("x-b3-sampled");
static FLAGS: HeaderName = HeaderName::from_static("x-b3-flags");

/// `traceid-spanid[-decision[-parentspanid]]`, or a decision alone.
pub(super) fn extract_single(headers: &HeaderMap) -> Option<Caller> {
    let text = single(headers, &B3)?;
    match decision(text) {
        Some(sampled) => Some(Caller::without_span(sampled)),
        None => Some(single_parent(text)?.into_caller(TraceState::NONE)),
    }
}

/// The ids and the decision each have a header. A decision counts also where the ids are absent or malformed.
pub(super) fn extract_multi(headers: &HeaderMap) -> Option<Caller> {
    let sampled = multi_decision(headers);
    match multi_parent(headers, sampled.unwrap_or(true)) {
        Some(parent) => Some(parent.into_caller(TraceState::NONE)),
        None => sampled.map(Caller::without_span),
    }
}

pub(super) fn inject_single(context: &SpanContext, headers: &mut HeaderMap) {
    let mut text = [b'-'; 32 + 1 + 16 + 1 + 1];
    write_ids(context, &mut text[..49]);
    text[50] = if context.is_sampled() { b'1' } else { b'0' };
    insert(headers, &B3, &text);
}

pub(super) fn inject_multi(context: &SpanContext, headers: &mut HeaderMap) {
    let mut ids = [b'-'; 49];
    write_ids(context, &mut ids);
    insert(headers, &TRACE_ID, &ids[..32]);
    insert(headers, &SPAN_ID, &ids[33..]);
    insert(headers, &SAMPLED, if context.is_sampled() { b"1" } else { b"0" });
    remove(headers, &PARENT_SPAN_ID);
    remove(headers, &FLAGS);
}

fn single_parent(text: &[u8]) -> Option<Parent> {
    let mut parts = text.split(|byte| *byte == b'-');
    let (trace, span) = (trace_id(parts.next()?)?, hex(parts.next()?)?);
    let sampled = match parts.next() {
        None => true,
        Some(part) => decision(part)?,
    };
    let _parent_span = parts.next();
    match parts.next() {
        None => Parent::new(trace, span, sampled),
        Some(_) => None,
    }
}

fn multi_parent(headers: &HeaderMap, sampled: bool) -> Option<Parent> {
    let trace = trace_id(single(headers, &TRACE_ID)?)?;
    let span = hex(single(headers, &SPAN_ID)?)?;
    Parent::new(trace, span, sampled)
}

/// The debug flag implies a decision to sample.
fn multi_decision(headers: &HeaderMap) -> Option<bool> {
    if single(headers, &FLAGS) == Some(b"1") {
        return Some(true);
    }
    match single(headers, &SAMPLED)? {
        text if text.eq_ignore_ascii_case(b"true") => Some(true),
        text if text.eq_ignore_ascii_case(b"false") => Some(false),
        text => decision(text),
    }
}

/// `d` asks for debugging, which implies a decision to sample.
fn decision(text: &[u8]) -> Option<bool> {
    match text {
        b"1" | b"d" => Some(true),
        b"0" => Some(false),
        _ => None,
    }
}

/// 16 bytes, or the lower 8 of them.
fn trace_id(text: &[u8]) -> Option<[u8; 16]> {
    if text.len() != 16 {
        return hex(text);
    }
    let lower: [u8; 8] = hex(text)?;
    Some(u128::from(u64::from_be_bytes(lower)).to_be_bytes())
}
