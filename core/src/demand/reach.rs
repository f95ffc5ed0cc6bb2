//! Which interceptors requests reach, and since when without a gap.

use std::collections::HashSet;
use std::time::Duration;

/// Before anybody has said which they reach, it is all.
#[derive(Debug, Default)]
pub(super) struct Reach {
    interceptors: Option<HashSet<String>>,
    /// When the last gap ended, in which they reached none.
    since: Option<Duration>,
}

impl Reach {
    /// It is these from now on. Whoever is there when it is said for the first time may have been there before.
    pub(super) fn set(&mut self, interceptors: HashSet<String>, now: Duration) {
        let gap = self.interceptors.as_ref().is_some_and(HashSet::is_empty);
        if gap && !interceptors.is_empty() {
            self.since = Some(now);
        }
        self.interceptors = Some(interceptors);
    }

    pub(super) fn includes(&self, interceptor: &str) -> bool {
        let mut known = self.interceptors.iter();
        known.all(|interceptors| interceptors.contains(interceptor))
    }

    /// Whether there was no gap in the window that ends now.
    pub(super) fn covers(&self, window: Duration, now: Duration) -> bool {
        self.since.is_none_or(|since| now.saturating_sub(since) >= window)
    }
}
