//! What all interceptors report, folded: activity, concurrency and rate per target.
//!
//! "No data" is never zero: [`Demand::reading`] tells them apart.

use std::time::Duration;

use crate::target::TargetKey;

/// What an interceptor says of one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetReport {
    /// Which target.
    pub key: TargetKey,
    /// Requests that arrived since the interceptor's boot; never decreases within one boot.
    pub arrivals: u64,
    /// Requests that have arrived and not ended.
    pub pending: u64,
    /// Of those, the ones held because no endpoint is ready.
    pub waiting: u64,
    /// The integral of `pending` over time since boot, in request-nanoseconds, wrapping; `None` from peers that only have `/queue`.
    pub pending_nanos: Option<u64>,
    /// Arrivals of each of the last seconds, newest first; only in a complete report, and already part of `arrivals`.
    pub recent_arrivals: Vec<u32>,
}

/// One report of one interceptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Changes when the interceptor restarts; `None` from peers that only have `/queue` (a lower count then means a restart).
    pub boot: Option<String>,
    /// The interceptor's monotonic time of this report, since its boot.
    pub uptime: Duration,
    /// Whether targets that are not named here are unknown to the interceptor.
    pub complete: bool,
    /// The targets that changed, or all of them.
    pub targets: Vec<TargetReport>,
    /// Targets the interceptor no longer knows.
    pub removed: Vec<TargetKey>,
}

/// What is known of a target at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reading<T> {
    /// No interceptor has ever been heard, or all reports are too old to use.
    NoData,
    /// The value.
    Known(T),
}

/// The folded reports of all interceptors. Time is the caller's monotonic clock, from any fixed origin.
#[derive(Debug, Default)]
pub struct Demand {}

impl Demand {
    /// `retention`: for how long the last report of an unreachable interceptor still counts.
    pub fn new(retention: Duration) -> Self {
        let _ = retention;
        todo!()
    }

    /// Takes a report in and says which targets it touched.
    pub fn observe(&mut self, interceptor: &str, report: Report, now: Duration) -> Vec<TargetKey> {
        let _ = (interceptor, report, now);
        todo!()
    }

    /// The interceptor's stream is lost: its last report counts until `retention` has passed from `now`.
    pub fn disconnect(&mut self, interceptor: &str, now: Duration) {
        let _ = (interceptor, now);
        todo!()
    }

    /// The interceptor is gone for good (removed from the list): it counts no more. Says which targets that touched.
    pub fn forget(&mut self, interceptor: &str) -> Vec<TargetKey> {
        let _ = interceptor;
        todo!()
    }

    /// Drops what has outlived its use (old reports, old windows); call it now and then.
    pub fn expire(&mut self, now: Duration) {
        let _ = now;
        todo!()
    }

    /// Requests pending: the larger of now and the time-weighted mean of the last ten seconds, over all interceptors.
    pub fn concurrency(&self, key: &TargetKey, now: Duration) -> Reading<f64> {
        let _ = (key, now);
        todo!()
    }

    /// Average arrivals per `granularity` over `window`, over all interceptors.
    pub fn rate(&self, key: &TargetKey, window: Duration, granularity: Duration, now: Duration) -> Reading<f64> {
        let _ = (key, window, granularity, now);
        todo!()
    }

    /// Active when something is pending or anything arrived within `window`.
    pub fn is_active(&self, key: &TargetKey, window: Duration, now: Duration) -> Reading<bool> {
        let _ = (key, window, now);
        todo!()
    }

    /// Requests held because no endpoint is ready, over all interceptors.
    pub fn waiting(&self, key: &TargetKey, now: Duration) -> Reading<u64> {
        let _ = (key, now);
        todo!()
    }

    /// Concurrency summed over all targets, for scaling the interceptor itself.
    pub fn total_concurrency(&self, now: Duration) -> Reading<f64> {
        let _ = now;
        todo!()
    }
}
