//! The last report of one interceptor, and what a new report adds.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::{Report, TargetReport};
use crate::target::TargetKey;

mod history;

use history::{History, SPAN};

const SECOND: Duration = Duration::from_secs(1);

/// A target that changes is reported every 200 ms, and one report may be late: after this long it does not change.
const REPORTED_WITHIN: Duration = Duration::from_millis(400);

/// One interceptor, as of its last report.
#[derive(Debug, Default)]
pub(super) struct Interceptor {
    boot: Option<String>,
    uptime: Duration,
    /// When the last report was received; `None` before the first.
    heard: Option<Duration>,
    connection: Connection,
    targets: HashMap<TargetKey, Counted>,
    /// The sum over all targets, wrapping, so that reading it does not depend on their number.
    pending: u64,
    /// When something was last known to be pending, or to have been pending since the previous report.
    busy: Option<Duration>,
}

#[derive(Debug, Default, Clone, Copy)]
enum Connection {
    #[default]
    Live,
    LostSince(Duration),
    Forgotten,
}

/// How a report follows the one before it.
#[derive(Debug)]
pub(super) enum Continuity {
    /// There is none before it; what arrived outside the reported seconds is of unknown age.
    First,
    /// The first report of a peer that has neither a boot id nor ages: only later arrivals can be counted.
    Baseline,
    /// The interceptor has restarted since.
    Restarted,
    /// The same boot; the last report was this long ago.
    Continued(Duration),
}

/// The last counts of one target.
#[derive(Debug, Default)]
pub(super) struct Counted {
    /// When the last report that names the target was observed.
    reported: Duration,
    arrivals: u64,
    pub(super) pending: u64,
    pub(super) waiting: u64,
    pub(super) starting: bool,
    history: History,
}

/// Requests that arrived evenly within a span of time, as ages at the time of the report.
#[derive(Debug, Clone, Copy)]
pub(super) struct Aged {
    pub(super) oldest: Duration,
    pub(super) newest: Duration,
    pub(super) count: u64,
}

impl Interceptor {
    /// Starts a report. Returns how it follows the last one; `None` when it is older.
    pub(super) fn begin(&mut self, report: &Report, now: Duration) -> Option<Continuity> {
        let continuity = self.continuity(report, now)?;
        if !matches!(continuity, Continuity::Continued(_)) {
            self.boot.clone_from(&report.boot);
            self.forget_pending();
        }
        self.uptime = report.uptime;
        self.heard = Some(now);
        self.connection = Connection::Live;
        Some(continuity)
    }

    fn continuity(&self, report: &Report, now: Duration) -> Option<Continuity> {
        let continuity = match (self.heard, &self.boot, &report.boot) {
            (Some(_), Some(before), Some(boot)) if before == boot && report.uptime < self.uptime => return None,
            (Some(heard), before, boot) if before == boot => Continuity::Continued(now.saturating_sub(heard)),
            (_, _, None) => Continuity::Baseline,
            (Some(_), Some(_), Some(_)) => Continuity::Restarted,
            (_, _, Some(_)) => Continuity::First,
        };
        Some(continuity)
    }

    /// Keeps only the numbers of arrivals.
    fn forget_pending(&mut self) {
        for counted in self.targets.values_mut() {
            *counted = Counted {
                reported: counted.reported,
                arrivals: counted.arrivals,
                ..Counted::default()
            };
        }
        (self.pending, self.busy) = (0, None);
    }

    /// Drops and returns the targets that the interceptor no longer knows.
    pub(super) fn drop_unnamed(&mut self, report: &Report, continuity: &Continuity) -> Vec<TargetKey> {
        let mut dropped = report.removed.clone();
        if report.complete || !matches!(continuity, Continuity::Continued(_)) {
            let named: HashSet<&TargetKey> = report.targets.iter().map(|target| &target.key).collect();
            dropped.extend(self.targets.keys().filter(|key| !named.contains(key)).cloned());
        }
        dropped.retain(|key| {
            let counted = self.targets.remove(key);
            let pending = counted.as_ref().map_or(0, |counted| counted.pending);
            self.pending = self.pending.wrapping_sub(pending);
            counted.is_some()
        });
        dropped
    }

    /// Applies the report of one target, and returns the new arrivals.
    pub(super) fn count(
        &mut self,
        target: TargetReport,
        continuity: &Continuity,
        uptime: Duration,
        now: Duration,
    ) -> Vec<Aged> {
        let new = self.new_arrivals(&target, continuity, uptime, now);
        // A peer without a boot id has no uptime either.
        let clock = if self.boot.is_some() { uptime } else { now };
        let counted = self.targets.entry(target.key).or_default();
        (counted.arrivals, counted.reported) = (target.arrivals, now);
        self.pending = self.pending.wrapping_sub(counted.pending).wrapping_add(target.pending);
        counted.pending = target.pending;
        (counted.waiting, counted.starting) = (target.waiting, target.starting);
        let busy = match target.pending_nanos {
            Some(integral) => counted.history.observe(uptime, integral, target.pending, now),
            None => counted.history.observe_pending(clock, target.pending, now),
        };
        if busy {
            self.busy = Some(now);
        }
        new
    }

    fn new_arrivals(
        &self,
        target: &TargetReport,
        continuity: &Continuity,
        uptime: Duration,
        now: Duration,
    ) -> Vec<Aged> {
        let before = self.targets.get(&target.key);
        let (count, within) = match continuity {
            Continuity::Baseline => return Vec::new(),
            Continuity::First | Continuity::Restarted => (target.arrivals, uptime),
            // A key seen for the first time counts in full: the first request of a new route has to activate it.
            Continuity::Continued(gap) => {
                let since = before.map_or(*gap, |before| now.saturating_sub(before.reported));
                (difference(target.arrivals, before.map(|before| before.arrivals)), since)
            }
        };
        let seconds = Seconds {
            recent: &target.recent_arrivals,
            running: Duration::from_nanos(uptime.subsec_nanos().into()),
            within,
        };
        let mut new = seconds.spread(count);
        let rest = count - new.iter().map(|aged| aged.count).sum::<u64>();
        let is_recent = within <= seconds.covered().saturating_add(SECOND);
        // Before the first report, what is older than the reported seconds may be of any age.
        if rest > 0 && (is_recent || !matches!(continuity, Continuity::First)) {
            let oldest = match self.boot.is_some() && target.recent_arrivals.is_empty() {
                true => within.min(REPORTED_WITHIN),
                false => within,
            };
            new.push(Aged {
                oldest,
                newest: seconds.covered().min(oldest),
                count: rest,
            });
        }
        new
    }

    /// Until when all arrivals of the target are known from this interceptor.
    pub(super) fn known_until(&self, key: &TargetKey, now: Duration) -> Duration {
        let (Some(counted), Connection::Live) = (self.targets.get(key), self.connection) else {
            return now;
        };
        // After a quiet time the first arrival is reported at once, so no report means no arrivals. A peer without a
        // boot id is polled, and reports nothing in between.
        let is_quiet = self.boot.is_some() && now.saturating_sub(counted.reported) > REPORTED_WITHIN;
        if is_quiet { now } else { counted.reported }
    }

    pub(super) fn disconnect(&mut self, now: Duration) {
        if matches!(self.connection, Connection::Live) {
            self.connection = Connection::LostSince(now);
        }
    }

    /// Stops counting the interceptor, and returns its targets.
    pub(super) fn forget(&mut self) -> Vec<TargetKey> {
        self.connection = Connection::Forgotten;
        self.forget_pending();
        self.targets.keys().cloned().collect()
    }

    /// Whether a later report can be recognised as one of the same process.
    pub(super) fn can_be_recognised(&self) -> bool {
        self.boot.is_some()
    }

    /// Whether the last report counts.
    pub(super) fn counts(&self, retention: Duration, now: Duration) -> bool {
        match self.connection {
            Connection::Live => true,
            Connection::LostSince(lost) => now.saturating_sub(lost) < retention,
            Connection::Forgotten => false,
        }
    }

    pub(super) fn is_older_than(&self, age: Duration, now: Duration) -> bool {
        self.heard.is_none_or(|heard| now.saturating_sub(heard) > age)
    }

    /// For how long its reports cover all arrivals: since its boot. Unknown of a peer without a boot id.
    pub(super) fn has_run_for(&self, now: Duration) -> Duration {
        match (&self.boot, self.heard) {
            (Some(_), Some(heard)) => self.uptime.saturating_add(now.saturating_sub(heard)),
            _ => Duration::ZERO,
        }
    }

    pub(super) fn is_pending(&self) -> bool {
        self.pending > 0
    }

    /// Whether anything is pending, or was within the time of the mean.
    pub(super) fn is_busy(&self, now: Duration) -> bool {
        let recently = |at| now.saturating_sub(at) <= SPAN;
        self.is_pending() || self.busy.is_some_and(recently)
    }

    pub(super) fn counted(&self, key: &TargetKey) -> Option<&Counted> {
        self.targets.get(key)
    }

    pub(super) fn all_counted(&self) -> impl Iterator<Item = (&TargetKey, &Counted)> {
        self.targets.iter()
    }
}

impl Counted {
    /// The time-weighted mean of pending over the last ten seconds.
    pub(super) fn mean(&self, now: Duration) -> f64 {
        self.history.mean(now)
    }

    /// Nothing is pending, and nothing was in the last seconds.
    pub(super) fn is_idle(&self, now: Duration) -> bool {
        self.pending == 0 && self.mean(now) <= 0.0
    }
}

/// A count never decreases within one boot, so a lower one is of a new counter.
fn difference(arrivals: u64, before: Option<u64>) -> u64 {
    arrivals.checked_sub(before.unwrap_or_default()).unwrap_or(arrivals)
}

/// The arrivals of the last seconds of an interceptor's uptime, as a complete report has them.
struct Seconds<'a> {
    /// Newest first.
    recent: &'a [u32],
    /// How much of the newest second has passed; the others are whole.
    running: Duration,
    /// All new arrivals are younger than this.
    within: Duration,
}

impl Seconds<'_> {
    /// Assigns up to `count` arrivals to the reported seconds, the newest first.
    fn spread(&self, count: u64) -> Vec<Aged> {
        let (mut rest, mut aged) = (count, Vec::new());
        for (second, arrived) in (0..).zip(self.recent) {
            let part = rest.min(u64::from(*arrived));
            rest -= part;
            if part > 0 {
                aged.push(Aged {
                    oldest: self.age_of_start(second).min(self.within),
                    newest: second
                        .checked_sub(1)
                        .map_or(Duration::ZERO, |next| self.age_of_start(next))
                        .min(self.within),
                    count: part,
                });
            }
        }
        aged
    }

    fn age_of_start(&self, second: u32) -> Duration {
        self.running.saturating_add(SECOND.saturating_mul(second))
    }

    /// How far back the reported seconds reach.
    fn covered(&self) -> Duration {
        let oldest = self.recent.len().checked_sub(1);
        oldest.map_or(Duration::ZERO, |oldest| {
            self.age_of_start(u32::try_from(oldest).unwrap_or(u32::MAX))
        })
    }
}
