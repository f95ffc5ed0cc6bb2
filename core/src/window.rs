//! Arrivals of one target over time, and the rate read from them.

use std::time::Duration;

/// Arrivals of one target, newest last. Times are monotonic, counted from any fixed origin (the process's start).
#[derive(Debug, Clone, Default)]
pub struct Arrivals {}

impl Arrivals {
    /// Notes that `count` requests arrived at `at`. Times may come slightly out of order (several interceptors);
    /// what is older than the longest retained window is dropped.
    pub fn record(&mut self, at: Duration, count: u64) {
        let _ = (at, count);
        todo!()
    }

    /// The average number of arrivals per `granularity` over the last `window`: a pure read.
    pub fn rate(&self, window: Duration, granularity: Duration, now: Duration) -> f64 {
        let _ = (window, granularity, now);
        todo!()
    }

    /// Whether anything arrived within the last `window`; never derived from a rounded average.
    pub fn any_within(&self, window: Duration, now: Duration) -> bool {
        let _ = (window, now);
        todo!()
    }
}
