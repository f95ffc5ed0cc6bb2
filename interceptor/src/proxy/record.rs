//! One request from arrival to end: dropping its record counts it out, measures it and ends its span.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::counters::pending::Pending;
use crate::telemetry::access_log::AccessLine;
use crate::telemetry::metrics::{Method, Outcome, SeriesCache};
use crate::telemetry::spans::RequestSpan;

/// nginx's status for a client that did not wait; upstream uses it too.
pub(crate) const CLIENT_CLOSED_REQUEST: u16 = 499;

pub(crate) struct Record {
    metrics: Arc<SeriesCache>,
    method: Method,
    /// `None` for requests without a route, and for those of static routes and health checks: they are counted nowhere
    /// but in the metrics.
    pending: Option<Pending>,
    started: Instant,
    /// The status that was answered; `None` until then, and for ever when the client goes away first.
    status: Option<u16>,
    cold: bool,
    span: Option<Box<RequestSpan>>,
    access: Option<Box<AccessLine>>,
}

impl Record {
    pub(crate) fn begin(
        metrics: Arc<SeriesCache>,
        method: &http::Method,
        pending: Option<Pending>,
        span: Option<Box<RequestSpan>>,
    ) -> Self {
        // One look at the clock is enough for both.
        let started = pending
            .as_ref()
            .map_or_else(Instant::now, |pending| pending.arrived().into());
        Self {
            metrics,
            method: Method::from_http(method),
            pending,
            started,
            status: None,
            cold: false,
            span,
            access: None,
        }
    }

    /// What counts it as pending, for whoever lets it wait.
    pub(crate) fn pending(&self) -> Option<&Pending> {
        self.pending.as_ref()
    }

    /// Its span, when it is sampled.
    pub(crate) fn span(&mut self) -> Option<&mut RequestSpan> {
        self.span.as_deref_mut()
    }

    pub(crate) fn mark_cold(&mut self) {
        self.cold = true;
    }

    /// Whether it waited for an endpoint.
    pub(crate) fn is_cold(&self) -> bool {
        self.cold
    }

    /// Writes a line of the access log when it has ended.
    pub(crate) fn log<B>(&mut self, peer: SocketAddr, request: &http::Request<B>) {
        self.access = Some(Box::new(AccessLine::new(peer, request)));
    }

    /// Bytes of the response's body that were passed on.
    pub(crate) fn add_bytes(&mut self, bytes: usize) {
        if let Some(access) = &mut self.access {
            access.bytes += bytes as u64;
        }
    }

    pub(crate) fn arrived(&self) -> Instant {
        self.started
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    pub(crate) fn set_status(&mut self, status: http::StatusCode) {
        self.status = Some(status.as_u16());
        if let Some(span) = &mut self.span {
            span.set_call_status(status);
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let outcome = Outcome {
            method: self.method,
            status: self.status.unwrap_or(CLIENT_CLOSED_REQUEST),
            cold: self.cold,
        };
        self.metrics.observe(outcome, self.started.elapsed());
        if let Some(span) = self.span.take() {
            span.end(self.status, self.cold);
        }
        if let Some(access) = self.access.take() {
            access.write(outcome.status);
        }
    }
}
