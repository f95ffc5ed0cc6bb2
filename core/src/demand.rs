//! The reports of all interceptors, reduced to activity, concurrency and rate per target.
//!
//! "No data" is never zero: [`Reading`] distinguishes them. A target is known to be idle only while requests can reach an
//! interceptor. While all interceptors terminate or are not ready yet, traffic bypasses them, and a falling count says
//! nothing about its target.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::target::TargetKey;
use crate::window::{Arrivals, RETAINED};

mod interceptor;
mod reach;

use interceptor::{Aged, Counted, Interceptor};
use reach::Reach;

/// The counters of one target, in the report of one interceptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetReport {
    /// The target that is counted.
    pub key: TargetKey,
    /// Requests that arrived since the interceptor's boot; never decreases within one boot.
    pub arrivals: u64,
    /// Requests that have arrived and not ended.
    pub pending: u64,
    /// Of those, the ones held because no endpoint is ready.
    pub waiting: u64,
    /// Whether the workload starts: a request was held, and no endpoint has been ready since. The interceptor ends it
    /// when the time has passed for which the request might be held.
    pub starting: bool,
    /// The integral of `pending` over time since boot, in request-nanoseconds, wrapping; `None` from peers that only have
    /// `/queue`.
    pub pending_nanos: Option<u64>,
    /// Arrivals of each of the last seconds, newest first; only in a complete report, and already part of `arrivals`.
    pub recent_arrivals: Vec<u32>,
}

/// One report of one interceptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Changes when the interceptor restarts; `None` from peers that only have `/queue`, where a lower count means a
    /// restart.
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

/// A value, or that there is no data for it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reading<T> {
    /// No interceptor has reported yet, all reports are too old, or requests cannot reach the interceptors that report.
    NoData,
    /// The value.
    Known(T),
}

/// Added to the caller's time where arrivals are kept, so that what arrived before the caller's origin has a time too.
const BEFORE_ORIGIN: Duration = RETAINED;

/// The reports of all interceptors. Time is the caller's monotonic clock, from any fixed origin.
#[derive(Debug)]
pub struct Demand {
    retention: Duration,
    interceptors: HashMap<String, Interceptor>,
    reach: Reach,
    /// Every target that an interceptor names, and those that were named and still have arrivals.
    targets: HashMap<TargetKey, Arrivals>,
}

impl Demand {
    /// `retention`: for how long the last report of an unreachable interceptor still counts. `debounce`: for how long no
    /// interceptor may be reachable before autowired Services bypass them, and for how long one must be reachable before
    /// their traffic is restored.
    pub fn new(retention: Duration, debounce: Duration) -> Self {
        Self {
            retention,
            interceptors: HashMap::new(),
            reach: Reach::new(debounce),
            targets: HashMap::new(),
        }
    }

    /// Applies a report and returns the targets that it changes.
    ///
    /// A report older than the one before it (two streams of one interceptor may overlap) is ignored.
    pub fn observe(&mut self, interceptor: &str, report: Report, now: Duration) -> Vec<TargetKey> {
        let known = self.interceptors.entry(interceptor.to_owned()).or_default();
        let Some(continuity) = known.begin(&report, now) else {
            return Vec::new();
        };
        let mut touched = known.drop_unnamed(&report, &continuity);
        touched.extend(report.targets.iter().map(|target| target.key.clone()));
        for target in report.targets {
            let arrivals = self.targets.entry(target.key.clone()).or_default();
            for aged in known.count(target, &continuity, report.uptime, now) {
                record(arrivals, aged, now);
            }
        }
        let mut seen = HashSet::new();
        touched.retain(|key| seen.insert(key.clone()));
        self.note_reach(now);
        touched
    }

    /// Sets the interceptors that requests can reach. Before the first call that is all of them.
    pub fn set_reachable(&mut self, interceptors: HashSet<String>, now: Duration) {
        self.reach.set(interceptors, now);
        self.note_reach(now);
    }

    /// The interceptor's stream is lost: its last report counts until `retention` has passed from `now`.
    pub fn disconnect(&mut self, interceptor: &str, now: Duration) {
        if let Some(known) = self.interceptors.get_mut(interceptor) {
            known.disconnect(now);
        }
    }

    /// The interceptor no longer exists: its pending requests no longer count. Returns the targets that this changes.
    ///
    /// Its arrivals stay in their windows. Should it be listed again, only what arrived meanwhile is new.
    pub fn forget(&mut self, interceptor: &str) -> Vec<TargetKey> {
        let Some(known) = self.interceptors.get_mut(interceptor) else {
            return Vec::new();
        };
        let touched = known.forget();
        if !known.can_be_recognised() {
            self.interceptors.remove(interceptor);
        }
        touched
    }

    /// Drops old reports and windows; call it from time to time.
    pub fn expire(&mut self, now: Duration) {
        let Self {
            retention,
            interceptors,
            targets,
            ..
        } = self;
        interceptors.retain(|_, known| known.counts(*retention, now) || !known.is_older_than(RETAINED, now));
        targets.retain(|key, arrivals| {
            arrivals.expire(now.saturating_add(BEFORE_ORIGIN));
            arrivals.any_within(RETAINED, now.saturating_add(BEFORE_ORIGIN))
                || interceptors.values().any(|known| known.counted(key).is_some())
        });
    }

    /// Requests pending over all interceptors: the current number or the time-weighted mean of the last ten seconds,
    /// whichever is larger. Known only while requests reach an interceptor: the others only finish what they have.
    ///
    /// Between two reports the mean is the interceptor's own; since the last report its pending requests are assumed to be
    /// pending still. The mean of an interceptor known for less than ten seconds covers the time it has been known.
    pub fn concurrency(&self, key: &TargetKey, now: Duration) -> Reading<f64> {
        if !self.anyone_reached(now) || !self.reach.is_settled(now) {
            return Reading::NoData;
        }
        let mut sum = Concurrency::default();
        self.counted(key, now).for_each(|counted| sum.add(counted, now));
        Reading::Known(sum.value())
    }

    /// Average arrivals per `granularity` over the last `window`, over all interceptors. The window ends where the
    /// reports do, and is shorter while less is known: after a start, or after a time in which requests reached no
    /// interceptor. It is then known again once one `granularity` has passed.
    pub fn rate(&self, key: &TargetKey, window: Duration, granularity: Duration, now: Duration) -> Reading<f64> {
        let is_gap_recent = self.reach.since_gap(now).is_some_and(|since| since < granularity);
        if is_gap_recent || !self.anyone_reached(now) {
            return Reading::NoData;
        }
        let ends = self.counting(now).map(|interceptor| interceptor.known_until(key, now));
        let end = ends.fold(now, Duration::min);
        let known = self
            .reach
            .lasts(self.oldest_reached(now), now)
            .saturating_sub(now - end);
        let end = end.saturating_add(BEFORE_ORIGIN);
        let arrivals = self.targets.get(key);
        Reading::Known(arrivals.map_or(0.0, |arrivals| arrivals.rate(window.min(known), granularity, end)))
    }

    /// Active when something is pending, the workload starts, or anything arrived within `window`. Inactive only if
    /// requests have reached an interceptor during the whole window.
    pub fn is_active(&self, key: &TargetKey, window: Duration, now: Duration) -> Reading<bool> {
        let active = self
            .counted(key, now)
            .any(|counted| counted.pending > 0 || counted.starting)
            || self.arrived_within(key, window, now);
        let known = match active {
            true => self.counting(now).next().is_some(),
            false => self.anyone_reached(now) && self.reach.lasts(self.oldest_reached(now), now) >= window,
        };
        match known {
            true => Reading::Known(active),
            false => Reading::NoData,
        }
    }

    /// Requests held because no endpoint is ready, over all interceptors.
    pub fn waiting(&self, key: &TargetKey, now: Duration) -> Reading<u64> {
        if !self.anyone_reached(now) && !self.is_pending(key, now) {
            return Reading::NoData;
        }
        let waiting = self.counted(key, now).map(|counted| counted.waiting);
        Reading::Known(waiting.fold(0, u64::saturating_add))
    }

    /// Concurrency summed over all targets, for scaling the interceptor itself.
    pub fn total_concurrency(&self, now: Duration) -> Reading<f64> {
        if !self.anyone_reached(now) {
            return Reading::NoData;
        }
        let mut sums: HashMap<&TargetKey, Concurrency> = HashMap::new();
        let all = self.counting(now).flat_map(Interceptor::all_counted);
        for (key, counted) in all.filter(|(_, counted)| !counted.is_idle(now)) {
            sums.entry(key).or_default().add(counted, now);
        }
        // Not `sum`, which is -0 without targets.
        Reading::Known(sums.values().fold(0.0, |total, sum| total + sum.value()))
    }

    /// Whether anything is pending, or was within the last ten seconds. Its cost does not depend on the number of targets.
    pub fn is_anything_pending(&self, now: Duration) -> Reading<bool> {
        match self.anyone_reached(now) || self.counting(now).any(Interceptor::is_pending) {
            true => Reading::Known(self.counting(now).any(|interceptor| interceptor.is_busy(now))),
            false => Reading::NoData,
        }
    }

    /// The interceptors that requests reach, and whose last report counts.
    fn reachable(&self, now: Duration) -> impl Iterator<Item = &Interceptor> {
        let all = self.interceptors.iter();
        let reached = all.filter(move |(name, known)| known.counts(self.retention, now) && self.reach.includes(name));
        reached.map(|(_, known)| known)
    }

    fn anyone_reached(&self, now: Duration) -> bool {
        self.reachable(now).next().is_some()
    }

    /// How long the oldest of those that requests reach has run.
    fn oldest_reached(&self, now: Duration) -> Duration {
        let ages = self.reachable(now).map(|known| known.has_run_for(now));
        ages.max().unwrap_or_default()
    }

    /// Reach is known from the first report of a reachable interceptor on.
    fn note_reach(&mut self, now: Duration) {
        if !self.reach.is_known() && self.anyone_reached(now) {
            self.reach.begin(now);
        }
    }

    /// The interceptors whose last report counts.
    fn counting(&self, now: Duration) -> impl Iterator<Item = &Interceptor> {
        self.interceptors
            .values()
            .filter(move |known| known.counts(self.retention, now))
    }

    fn counted<'a>(&'a self, key: &'a TargetKey, now: Duration) -> impl Iterator<Item = &'a Counted> {
        self.counting(now).filter_map(move |known| known.counted(key))
    }

    fn is_pending(&self, key: &TargetKey, now: Duration) -> bool {
        self.counted(key, now).any(|counted| counted.pending > 0)
    }

    fn arrived_within(&self, key: &TargetKey, window: Duration, now: Duration) -> bool {
        let arrivals = self.targets.get(key);
        arrivals.is_some_and(|arrivals| arrivals.any_within(window, now.saturating_add(BEFORE_ORIGIN)))
    }
}

/// The pending requests of one target, summed over interceptors.
#[derive(Default)]
struct Concurrency {
    now: f64,
    mean: f64,
}

impl Concurrency {
    fn add(&mut self, counted: &Counted, now: Duration) {
        self.now += counted.pending as f64;
        self.mean += counted.mean(now);
    }

    fn value(&self) -> f64 {
        self.now.max(self.mean)
    }
}

/// What is older than the time before the origin cannot be in any window.
fn record(arrivals: &mut Arrivals, aged: Aged, now: Duration) {
    let now = now.saturating_add(BEFORE_ORIGIN);
    if let Some(at) = now.checked_sub(aged.newest) {
        arrivals.record(now.saturating_sub(aged.oldest), at, aged.count);
    }
}

#[cfg(test)]
mod tests;
