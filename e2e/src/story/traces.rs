//! Traces as Jaeger and Zipkin give them back.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde_json::Value;

use super::caller;
use crate::wait;

/// How long spans may be under way: each program sends them in batches.
const ARRIVAL: Duration = Duration::from_secs(30);

/// A trace.
#[derive(Debug, Clone)]
pub struct Trace {
    /// Its id.
    pub id: String,
    /// Its spans, by the time at which they began.
    pub spans: Vec<Span>,
    /// As the backend gave it.
    pub raw: Value,
}

/// A span.
#[derive(Debug, Clone)]
pub struct Span {
    /// Its name; Zipkin has it in lower case.
    pub name: String,
    /// `service.name` of who made it.
    pub service: String,
    /// Its id.
    pub id: String,
    /// The span that it is below.
    pub parent: Option<String>,
    /// Microseconds since 1970.
    pub start: u64,
    /// How long it took.
    pub duration: Duration,
}

impl Span {
    /// When it ended, in microseconds since 1970.
    pub fn end(&self) -> u64 {
        self.start + self.duration.as_micros() as u64
    }

    /// Whether it lies within another one; clocks of two processes of one machine may differ by a little.
    pub fn within(&self, other: &Self) -> bool {
        const SLACK: u64 = 5_000;
        self.start + SLACK >= other.start && self.end() <= other.end() + SLACK
    }
}

impl Trace {
    /// The first span of a name.
    ///
    /// # Errors
    /// When there is none; the message names those that are there.
    pub fn span(&self, name: &str) -> Result<&Span> {
        let found = self.spans.iter().find(|span| span.name.eq_ignore_ascii_case(name));
        found.with_context(|| format!("no span {name:?} in {:?}", self.names()))
    }

    /// The span above another one.
    pub fn parent(&self, span: &Span) -> Option<&Span> {
        self.spans.iter().find(|other| Some(&other.id) == span.parent.as_ref())
    }

    /// Names of its spans.
    pub fn names(&self) -> Vec<&str> {
        self.spans.iter().map(|span| span.name.as_str()).collect()
    }

    fn began_after(&self, micros: u64) -> bool {
        self.spans.first().is_some_and(|first| first.start >= micros)
    }

    fn has(&self, names: &[&str]) -> bool {
        names.iter().all(|name| self.span(name).is_ok())
    }

    fn new(id: String, mut spans: Vec<Span>, raw: Value) -> Self {
        spans.sort_by_key(|span| span.start);
        Self { id, spans, raw }
    }
}

/// Waits for a trace in Jaeger, with spans of a service, that has all these names and began after `since`.
///
/// # Errors
/// When there is none in time; the message has what is there.
pub async fn in_jaeger(query: &str, service: &str, names: &[&str], since: SystemTime) -> Result<Trace> {
    let since = since.duration_since(UNIX_EPOCH)?.as_micros() as u64;
    let url = format!("{query}/api/traces?service={service}&lookback=1h&limit=1000");
    let mut seen = Vec::new();
    let found = wait::until("the trace is not in Jaeger", ARRIVAL, async || {
        let answer = caller::get(&url, "jaeger").await.ok()?;
        let body: Value = serde_json::from_str(&answer.body).ok()?;
        let traces: Vec<Trace> = body["data"].as_array()?.iter().filter_map(jaeger_trace).collect();
        seen = traces.iter().map(|trace| format!("{:?}", trace.names())).collect();
        traces
            .into_iter()
            .find(|trace| trace.began_after(since) && trace.has(names))
    });
    found
        .await
        .with_context(|| format!("wanted {names:?}, there are {seen:?}"))
}

/// Waits for a trace in Zipkin that has all these names.
///
/// # Errors
/// When it is not there in time.
pub async fn in_zipkin(query: &str, id: &str, names: &[&str]) -> Result<Trace> {
    let url = format!("{query}/api/v2/trace/{id}");
    wait::until("the trace is not in Zipkin", ARRIVAL, async || {
        let answer = caller::get(&url, "zipkin").await.ok()?;
        let trace = zipkin_trace(id, &serde_json::from_str(&answer.body).ok()?)?;
        trace.has(names).then_some(trace)
    })
    .await
}

fn jaeger_trace(trace: &Value) -> Option<Trace> {
    let span = |span: &Value| {
        let reference = span["references"].as_array()?.first();
        Some(Span {
            name: span["operationName"].as_str()?.to_owned(),
            service: trace["processes"][span["processID"].as_str()?]["serviceName"]
                .as_str()?
                .to_owned(),
            id: span["spanID"].as_str()?.to_owned(),
            parent: reference.and_then(|parent| Some(parent["spanID"].as_str()?.to_owned())),
            start: span["startTime"].as_u64()?,
            duration: Duration::from_micros(span["duration"].as_u64()?),
        })
    };
    let spans = trace["spans"].as_array()?.iter().filter_map(span).collect();
    Some(Trace::new(trace["traceID"].as_str()?.to_owned(), spans, trace.clone()))
}

fn zipkin_trace(id: &str, spans: &Value) -> Option<Trace> {
    let span = |span: &Value| {
        Some(Span {
            name: span["name"].as_str()?.to_owned(),
            service: span["localEndpoint"]["serviceName"].as_str()?.to_owned(),
            id: span["id"].as_str()?.to_owned(),
            parent: span["parentId"].as_str().map(str::to_owned),
            start: span["timestamp"].as_u64()?,
            duration: Duration::from_micros(span["duration"].as_u64()?),
        })
    };
    let all = spans.as_array()?.iter().filter_map(span).collect();
    Some(Trace::new(id.to_owned(), all, spans.clone()))
}
