//! W3C Trace Context: `traceparent` and `tracestate`.

use std::str::FromStr;

use http::header::{HeaderMap, HeaderName};
use opentelemetry::trace::{SpanContext, TraceState};

use super::{Caller, Parent, hex, insert, remove, single, write_ids};

static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

// W3C Trace Context section 3.3.1: the most list members, and the length up to which a `tracestate` must be passed on.
const MAX_STATE_MEMBERS: usize = 32;
const MAX_STATE_BYTES: usize = 512;

pub(super) fn extract(headers: &HeaderMap) -> Option<Caller> {
    let parent = trace_parent(headers)?;
    Some(parent.into_caller(trace_state(headers).unwrap_or_default()))
}

pub(super) fn inject(context: &SpanContext, headers: &mut HeaderMap) {
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

/// Section 3.2: `version-traceid-parentid-flags`. A later version may append more after a dash.
fn trace_parent(headers: &HeaderMap) -> Option<Parent> {
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

/// The caller's `tracestate` (section 3.3). One that is malformed or over-long is dropped; the `traceparent` still
/// counts.
fn trace_state(headers: &HeaderMap) -> Option<TraceState> {
    let mut values = headers.get_all(&TRACESTATE).iter();
    let first = values.next()?.to_str().ok()?;
    let Some(second) = values.next() else {
        return parse_state(first);
    };
    let mut all = first.to_owned();
    for value in [second].into_iter().chain(values) {
        all.push(',');
        all.push_str(value.to_str().ok()?);
    }
    parse_state(&all)
}

fn parse_state(text: &str) -> Option<TraceState> {
    let fits = text.len() <= MAX_STATE_BYTES && text.split(',').count() <= MAX_STATE_MEMBERS;
    fits.then(|| TraceState::from_str(text).ok()).flatten()
}
