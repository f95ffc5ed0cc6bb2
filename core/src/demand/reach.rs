//! Which interceptors requests reach, and for how long they have without a gap.
//!
//! In a gap requests reach none: all interceptors are on their way out, or not ready yet. Services are led past them then,
//! so nothing is known of what the targets are asked.

use std::collections::HashSet;
use std::time::Duration;

/// After a gap, and beyond the debounce, Services may take this long to be led back: interceptors open their ports, say so, and
/// the leader writes.
pub(super) const LEADING_BACK: Duration = Duration::from_secs(5);

/// Before anybody has said which they reach, it is all.
#[derive(Debug)]
pub(super) struct Reach {
    debounce: Duration,
    interceptors: Option<HashSet<String>>,
    /// When one that they reach was first heard. What was before is known only from what interceptors tell of it.
    known: Option<Duration>,
    /// The gap that has not ended.
    gap: Option<Beginning>,
    /// When the last gap ended that was long enough for Services to be led past the interceptors.
    gap_ended: Option<Duration>,
}

#[derive(Debug, Clone, Copy)]
enum Beginning {
    BeforeTheFirstWord,
    At(Duration),
}

impl Reach {
    /// `debounce`: a gap that is shorter does not lead Services past the interceptors.
    pub(super) fn new(debounce: Duration) -> Self {
        Self {
            debounce,
            interceptors: None,
            known: None,
            gap: None,
            gap_ended: None,
        }
    }

    /// It is these from now on. Whoever is there when it is said for the first time may have been there before.
    pub(super) fn set(&mut self, interceptors: HashSet<String>, now: Duration) {
        if interceptors.is_empty() {
            let beginning = match self.interceptors {
                None => Beginning::BeforeTheFirstWord,
                Some(_) => Beginning::At(now),
            };
            self.gap.get_or_insert(beginning);
        } else if let Some(gap) = self.gap.take()
            && self.leads_past(gap, now)
        {
            self.gap_ended = Some(now);
        }
        self.interceptors = Some(interceptors);
    }

    /// Half of the debounce is enough: not everybody hears of a gap at the same moment.
    fn leads_past(&self, gap: Beginning, now: Duration) -> bool {
        match gap {
            Beginning::BeforeTheFirstWord => true,
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

    /// One that requests reach is heard for the first time.
    pub(super) fn begin(&mut self, now: Duration) {
        self.known.get_or_insert(now);
    }

    /// How long it is that Services were led back after the last gap; nothing while they may not be. `None` when there was no gap.
    pub(super) fn since_gap(&self, now: Duration) -> Option<Duration> {
        let settling = self.debounce.saturating_add(LEADING_BACK);
        let ended = self.gap_ended?;
        Some(now.saturating_sub(ended).saturating_sub(settling))
    }

    /// Whether Services lead to the interceptors again, as far as time can tell.
    pub(super) fn is_settled(&self, now: Duration) -> bool {
        self.since_gap(now).is_none_or(|since| since > Duration::ZERO)
    }

    /// For how long requests have reached somebody, as far as it is known: since the last gap, or else since the first word, or
    /// as long as the one that has run longest, `oldest`, has taken what came.
    pub(super) fn lasts(&self, oldest: Duration, now: Duration) -> Duration {
        let listened = || self.known.map_or(Duration::ZERO, |known| now.saturating_sub(known));
        self.since_gap(now).unwrap_or_else(|| listened().max(oldest))
    }
}
