//! Spans received over OTLP, by trace; cold starts are drawn when their spans have arrived.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use keda_http_runtime::sleep;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::output::Output;

pub mod receiver;
pub mod span;
pub mod waterfall;

pub use span::{Span, SpanKind};

/// How many traces are kept; the oldest are dropped first.
const KEPT_TRACES: usize = 500;
/// How many spans of one trace are kept.
const KEPT_SPANS: usize = 1000;
/// A trace without a new span for this long is complete: three times as long as our programs delay spans.
const QUIET: Duration = Duration::from_millis(600);
/// How wide waterfalls are drawn.
pub const WIDTH: usize = 100;

/// All traces. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Traces {
    state: Arc<Mutex<State>>,
    arrivals: Arc<watch::Sender<u64>>,
}

#[derive(Debug, Default)]
struct State {
    traces: HashMap<String, Trace>,
}

#[derive(Debug)]
struct Trace {
    spans: Vec<Span>,
    last: Instant,
    drawn: bool,
}

impl Default for Traces {
    fn default() -> Self {
        Self {
            state: Arc::default(),
            arrivals: Arc::new(watch::Sender::new(0)),
        }
    }
}

impl Traces {
    pub fn add(&self, spans: Vec<Span>) {
        if spans.is_empty() {
            return;
        }
        let mut state = self.state.lock();
        for span in spans {
            state.add(span);
        }
        drop(state);
        self.arrivals.send_modify(|arrivals| *arrivals += 1);
    }

    /// The spans of a trace received so far.
    pub fn spans(&self, trace: &str) -> Vec<Span> {
        let state = self.state.lock();
        let trace = state.traces.get(trace);
        trace.map(|trace| trace.spans.clone()).unwrap_or_default()
    }

    /// Waits until the spans of a trace are complete, or `limit` has passed; returns those received.
    pub async fn wait(&self, trace: &str, limit: Duration, complete: impl Fn(&[Span]) -> bool) -> Vec<Span> {
        let mut arrivals = self.arrivals.subscribe();
        let complete = arrivals.wait_for(|_| complete(&self.spans(trace)));
        let _ = tokio::time::timeout(limit, complete).await; // the caller reports what is missing
        self.spans(trace)
    }

    /// Draws every cold start when its trace is complete. Runs for ever.
    pub async fn draw_cold_starts(self, output: Output) {
        let mut arrivals = self.arrivals.subscribe();
        loop {
            let (complete, next) = self.state.lock().complete_cold_starts(Instant::now());
            for spans in complete {
                output.print(&format!("\n{}", waterfall::render(&spans, WIDTH, output.colour())));
            }
            tokio::select! {
                Ok(()) = arrivals.changed() => {}
                () = sleep::until(next) => {}
            }
        }
    }
}

impl State {
    fn add(&mut self, span: Span) {
        if !self.traces.contains_key(&span.trace) && self.traces.len() >= KEPT_TRACES {
            self.drop_oldest();
        }
        let now = Instant::now();
        let trace = self.traces.entry(span.trace.clone()).or_insert_with(|| Trace {
            spans: Vec::new(),
            last: now,
            drawn: false,
        });
        trace.last = now;
        if trace.spans.len() < KEPT_SPANS && trace.spans.iter().all(|known| known.id != span.id) {
            trace.spans.push(span);
        }
    }

    fn drop_oldest(&mut self) {
        let oldest = self.traces.iter().min_by_key(|(_, trace)| trace.last);
        if let Some(oldest) = oldest.map(|(id, _)| id.clone()) {
            self.traces.remove(&oldest);
        }
    }

    /// The cold starts that are to be drawn now, and when the next one is due.
    fn complete_cold_starts(&mut self, now: Instant) -> (Vec<Vec<Span>>, Option<Instant>) {
        let waiting = self
            .traces
            .values_mut()
            .filter(|trace| !trace.drawn && is_cold_start(&trace.spans));
        let (mut complete, mut next) = (Vec::new(), None);
        for trace in waiting {
            let due = trace.last + QUIET;
            if due <= now {
                trace.drawn = true;
                complete.push(trace.spans.clone());
            } else {
                next = Some(next.map_or(due, |next: Instant| next.min(due)));
            }
        }
        (complete, next)
    }
}

/// Whether a request was held: the interceptor's server span has the attribute.
pub fn is_cold_start(spans: &[Span]) -> bool {
    spans
        .iter()
        .any(|span| span.kind == SpanKind::Server && span.attribute("cold-start") == Some("true"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cold(trace: &str, id: &str) -> Span {
        Span {
            trace: trace.to_owned(),
            id: id.to_owned(),
            kind: SpanKind::Server,
            name: "keda-http-interceptor".to_owned(),
            attributes: vec![("cold-start".to_owned(), "true".to_owned())],
            ..Span::default()
        }
    }

    #[test]
    fn a_cold_start_is_drawn_once_when_nothing_more_comes() {
        let mut state = State::default();
        state.add(cold("a", "1"));
        state.add(Span {
            attributes: Vec::new(),
            ..cold("b", "1")
        });
        let (complete, next) = state.complete_cold_starts(Instant::now());
        assert!(complete.is_empty());
        let due = next.unwrap();
        let (complete, next) = state.complete_cold_starts(due);
        assert_eq!((complete.len(), next), (1, None));
        assert_eq!(state.complete_cold_starts(due), (Vec::new(), None));
    }

    #[test]
    fn the_oldest_trace_is_dropped_and_no_span_counts_twice() {
        let mut state = State::default();
        for number in 0..=KEPT_TRACES {
            state.add(cold(&number.to_string(), "1"));
            state.add(cold(&number.to_string(), "1"));
        }
        assert_eq!(state.traces.len(), KEPT_TRACES);
        assert!(!state.traces.contains_key("0"));
        assert_eq!(state.traces["1"].spans.len(), 1);
    }

    #[tokio::test]
    async fn waiting_ends_when_the_spans_have_come_or_the_time_has_passed() {
        let traces = Traces::default();
        let two = |spans: &[Span]| spans.len() == 2;
        let waiting = tokio::spawn({
            let traces = traces.clone();
            async move { traces.wait("a", Duration::from_secs(60), two).await }
        });
        traces.add(vec![cold("a", "1")]);
        traces.add(vec![cold("a", "2")]);
        assert_eq!(waiting.await.unwrap().len(), 2);
        assert_eq!(traces.wait("none", Duration::from_millis(10), two).await, []);
    }
}
