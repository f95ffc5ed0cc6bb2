//! Which interceptors requests reach, and for how long they have without a gap.
//!
//! In a gap requests reach none: all interceptors terminate or are not ready yet. Autowired Services then bypass them, so
//! the traffic of their targets is unknown.

use std::collections::HashSet;
use std::time::Duration;

/// After a gap, and beyond the debounce, restoring the traffic of Services may take this long: interceptors open their
/// ports and report them, and the leader writes EndpointSlices.
pub(super) const RESTORING: Duration = Duration::from_secs(5);

/// Before the first set is known, requests reach all interceptors.
#[derive(Debug)]
pub(super) struct Reach {
    debounce: Duration,
    interceptors: Option<HashSet<String>>,
    /// When the first reachable interceptor reported. What was before is known only from its report.
    known: Option<Duration>,
    /// The gap that has not ended.
    gap: Option<Beginning>,
    /// When the last gap ended that was long enough for Services to bypass the interceptors.
    gap_ended: Option<Duration>,
}

#[derive(Debug, Clone, Copy)]
enum Beginning {
    BeforeFirstReport,
    At(Duration),
}

impl Reach {
    /// `debounce`: in a shorter gap Services do not bypass the interceptors.
    pub(super) fn new(debounce: Duration) -> Self {
        Self {
            debounce,
            interceptors: None,
            known: None,
            gap: None,
            gap_ended: None,
        }
    }

    /// Replaces the set. Those in the first set may have been reachable before.
    pub(super) fn set(&mut self, interceptors: HashSet<String>, now: Duration) {
        if interceptors.is_empty() {
            let beginning = match self.interceptors {
                None => Beginning::BeforeFirstReport,
                Some(_) => Beginning::At(now),
            };
            self.gap.get_or_insert(beginning);
        } else if let Some(gap) = self.gap.take()
            && self.is_bypassed(gap, now)
        {
            self.gap_ended = Some(now);
        }
        self.interceptors = Some(interceptors);
    }

    /// Half of the debounce is enough: not every part notices a gap at the same time.
    fn is_bypassed(&self, gap: Beginning, now: Duration) -> bool {
        match gap {
            Beginning::BeforeFirstReport => true,
            Beginning::At(began) => now.saturating_sub(began) >= self.debounce / 2,
        }
    }

    pub(super) fn includes(&self, interceptor: &str) -> bool {
        let mut known = self.interceptors.iter();
        known.all(|interceptors| interceptors.contains(interceptor))
    }

    pub(super) fn is_known(&self) -> bool {
        self.known.is_some()
    }

    /// The first reachable interceptor has reported.
    pub(super) fn begin(&mut self, now: Duration) {
        self.known.get_or_insert(now);
    }

    /// How long ago the traffic was restored after the last gap; zero while that may not be done. `None` without a gap.
    pub(super) fn since_gap(&self, now: Duration) -> Option<Duration> {
        let settling = self.debounce.saturating_add(RESTORING);
        let ended = self.gap_ended?;
        Some(now.saturating_sub(ended).saturating_sub(settling))
    }

    /// Whether enough time has passed since the last gap for traffic to be restored.
    pub(super) fn is_settled(&self, now: Duration) -> bool {
        self.since_gap(now).is_none_or(|since| since > Duration::ZERO)
    }

    /// For how long requests are known to have reached an interceptor: since the last gap, or else since the first report,
    /// or for the uptime `oldest` of the one that has run longest.
    pub(super) fn lasts(&self, oldest: Duration, now: Duration) -> Duration {
        let listened = || self.known.map_or(Duration::ZERO, |known| now.saturating_sub(known));
        self.since_gap(now).unwrap_or_else(|| listened().max(oldest))
    }
}
