//! The pending requests of one target on one interceptor over the last seconds.

use std::collections::VecDeque;
use std::time::Duration;

/// Over how long the mean is taken.
pub(in crate::demand) const SPAN: Duration = Duration::from_secs(10);

/// Samples closer together than this replace each other, so that their number stays bounded.
const SPACING: Duration = Duration::from_millis(100);

/// Samples of the integral of pending over time. Any two of them give the exact mean between them.
#[derive(Debug, Default)]
pub(super) struct History {
    /// In order of time, no two at the same time; only the first may be older than [`SPAN`].
    samples: VecDeque<Sample>,
    /// Pending at the last sample, and as far as known ever since.
    pending: u64,
    /// When the last sample was received, on the caller's clock.
    received: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    /// On the clock of whoever integrates: the interceptor's, or the caller's for peers that do not.
    at: Duration,
    /// Request-nanoseconds, wrapping.
    integral: u64,
}

impl History {
    /// Adds the integral until `uptime`. Returns whether anything is pending, or has been since the last sample.
    pub(super) fn observe(&mut self, uptime: Duration, integral: u64, pending: u64, now: Duration) -> bool {
        let before = self.samples.back().map_or(integral, |last| last.integral);
        self.push(Sample { at: uptime, integral });
        (self.pending, self.received) = (pending, now);
        pending > 0 || integral != before
    }

    /// Adds a report without the integral, at `at` on the clock of the samples: the pending requests of the last sample
    /// are assumed to have been pending until then.
    pub(super) fn observe_pending(&mut self, at: Duration, pending: u64, now: Duration) -> bool {
        let integral = self.samples.back().map_or(0, |last| {
            let since = nanos(at.saturating_sub(last.at));
            last.integral.wrapping_add(self.pending.wrapping_mul(since))
        });
        self.observe(at, integral, pending, now)
    }

    /// The time-weighted mean of pending over the last ten seconds, or since the first sample. The pending requests of the
    /// last sample are assumed to be pending still.
    pub(super) fn mean(&self, now: Duration) -> f64 {
        let (Some(first), Some(last)) = (self.samples.front(), self.samples.back()) else {
            return 0.0;
        };
        let silent = now.saturating_sub(self.received);
        let end = last.at.saturating_add(silent);
        let start = end.saturating_sub(SPAN).max(first.at);
        if start >= last.at {
            return self.pending as f64;
        }
        let area = self.area_from(start) + self.pending as f64 * silent.as_nanos() as f64;
        area / (end - start).as_nanos() as f64
    }

    /// Request-nanoseconds between `start` and the last sample.
    fn area_from(&self, start: Duration) -> f64 {
        let mut area = 0.0;
        let pairs = self.samples.iter().zip(self.samples.iter().skip(1)).rev();
        for (from, to) in pairs.take_while(|(_, to)| to.at > start) {
            let covered = (to.at - from.at.max(start)).as_nanos() as f64 / (to.at - from.at).as_nanos() as f64;
            area += difference(to.integral, from.integral) * covered;
        }
        area
    }

    fn push(&mut self, sample: Sample) {
        if self.samples.back().is_some_and(|last| last.at > sample.at) {
            self.samples.clear();
        }
        if self.replaces_last(sample) {
            self.samples.pop_back();
        }
        self.samples.push_back(sample);
        while self
            .samples
            .get(1)
            .is_some_and(|second| sample.at.saturating_sub(second.at) >= SPAN)
        {
            self.samples.pop_front();
        }
    }

    fn replaces_last(&self, sample: Sample) -> bool {
        let mut newest = self.samples.iter().rev();
        let Some(last) = newest.next() else { return false };
        last.at == sample.at || newest.next().is_some_and(|before| last.at - before.at < SPACING)
    }
}

/// A wrapping difference; 0 where a concurrent request makes a snapshot appear to run backwards.
fn difference(later: u64, earlier: u64) -> f64 {
    let difference = later.wrapping_sub(earlier);
    if i64::try_from(difference).is_ok() {
        difference as f64
    } else {
        0.0
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_reports_takes_a_bounded_number_of_samples_and_the_mean_stays_exact() {
        let mut history = History::default();
        for millis in 0..60_000 {
            let at = Duration::from_millis(millis);
            history.observe(at, nanos(at) * 3, 3, at);
        }
        assert!(history.samples.len() <= 110, "{} samples", history.samples.len());
        assert!((history.mean(Duration::from_secs(60)) - 3.0).abs() < 1e-9);
    }
}
