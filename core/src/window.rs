//! Arrivals of one target over time, and the rate read from them.

use std::collections::VecDeque;
use std::time::Duration;

/// For how long arrivals are kept, counted back from the newest. Longer windows are averaged over this.
pub const RETAINED: Duration = Duration::from_secs(3600);

/// Arrivals whose newest is in the same slot share an entry.
const SLOT: u64 = 50_000_000;

/// The slot of entries older than [`FINE`] once there are [`MOST_ENTRIES`].
const COARSE_SLOT: u64 = 1_000_000_000;

/// For how long entries keep the fine slot when there are many. An hour then takes at most 4000 fine and 3400 coarse
/// entries.
const FINE: u64 = 200_000_000_000;

/// From this length on, old entries are merged.
const MOST_ENTRIES: usize = 8192;

/// Arrivals of one target, newest last. Times are monotonic, counted from any fixed origin (the process's start).
#[derive(Debug, Clone, Default)]
pub struct Arrivals {
    /// In order of `at`, never with a count of 0.
    entries: VecDeque<Entry>,
}

/// Requests that arrived evenly within a span of time. 16 bytes: a busy target has thousands.
#[derive(Debug, Clone, Copy)]
struct Entry {
    /// The end of the span, in nanoseconds.
    at: u64,
    /// The length of the span, in microseconds, so that an hour fits. 0 is one moment.
    span: u32,
    count: u32,
}

impl Arrivals {
    /// Records that `count` requests arrived after `since` and not after `at`. Times may come slightly out of order
    /// (several interceptors); what is older than [`RETAINED`] is dropped.
    pub fn record(&mut self, since: Duration, at: Duration, count: u64) {
        let entry = Entry::new(nanos(since), nanos(at), count);
        if count == 0 || self.newest().is_some_and(|newest| is_outdated(entry.at, newest)) {
            return;
        }
        self.insert(entry);
        self.drop_outdated();
        if self.entries.len() >= MOST_ENTRIES {
            self.coarsen();
        }
    }

    /// The average number of arrivals per `granularity` in the `window` that ends at `end`: a pure read, not rounded.
    ///
    /// The window slides: what arrived exactly one window before `end` is not in it, and of a span that is only partly
    /// in it that part counts. A window shorter than `granularity` is that long.
    pub fn rate(&self, window: Duration, granularity: Duration, end: Duration) -> f64 {
        let granularity = nanos(granularity).max(1);
        let window = nanos(window.min(RETAINED)).max(granularity);
        let end = nanos(end);
        // Within the window, or, near the origin of time, from the origin on.
        let start = end.checked_sub(window);
        let entries = self.entries.iter().rev();
        let recent = entries.take_while(|entry| start.is_none_or(|start| entry.at > start));
        let sum: f64 = recent.map(|entry| entry.count_within(start, end)).sum();
        sum * granularity as f64 / window as f64
    }

    /// Whether anything arrived within the last `window`; never derived from a rounded average. What arrived exactly one
    /// window ago does not count.
    pub fn any_within(&self, window: Duration, now: Duration) -> bool {
        self.until(now)
            .next()
            .is_some_and(|newest| nanos(now) - newest.at < nanos(window))
    }

    /// Frees the memory that only old arrivals use. The newest is kept whatever its age.
    pub fn expire(&mut self, now: Duration) {
        while self.entries.len() > 1
            && self
                .entries
                .front()
                .is_some_and(|oldest| is_outdated(oldest.at, nanos(now)))
        {
            self.entries.pop_front();
        }
        if self.entries.len() < self.entries.capacity() / 4 {
            self.entries.shrink_to_fit();
        }
    }

    /// The entries at or before `now`, newest first.
    fn until(&self, now: Duration) -> impl Iterator<Item = &Entry> {
        let now = nanos(now);
        self.entries.iter().rev().skip_while(move |entry| entry.at > now)
    }

    fn newest(&self) -> Option<u64> {
        self.entries.back().map(|entry| entry.at)
    }

    fn insert(&mut self, entry: Entry) {
        let position = self.entries.partition_point(|other| other.at / SLOT <= entry.at / SLOT);
        match position.checked_sub(1).and_then(|before| self.entries.get_mut(before)) {
            Some(before) if before.at / SLOT == entry.at / SLOT => before.merge(entry),
            _ => self.entries.insert(position, entry),
        }
    }

    fn drop_outdated(&mut self) {
        let Some(newest) = self.newest() else { return };
        while self
            .entries
            .front()
            .is_some_and(|oldest| is_outdated(oldest.at, newest))
        {
            self.entries.pop_front();
        }
    }

    fn coarsen(&mut self) {
        let fine_from = self.newest().unwrap_or_default().saturating_sub(FINE);
        let mut coarse: VecDeque<Entry> = VecDeque::with_capacity(MOST_ENTRIES);
        for entry in self.entries.drain(..) {
            match coarse.back_mut() {
                Some(last) if entry.at < fine_from && last.at / COARSE_SLOT == entry.at / COARSE_SLOT => {
                    last.merge(entry);
                }
                _ => coarse.push_back(entry),
            }
        }
        self.entries = coarse;
    }
}

impl Entry {
    fn new(since: u64, at: u64, count: u64) -> Self {
        let micros = at.saturating_sub(since) / 1000;
        Self {
            at,
            span: u32::try_from(micros).unwrap_or(u32::MAX),
            count: u32::try_from(count).unwrap_or(u32::MAX),
        }
    }

    fn since(&self) -> u64 {
        self.at.saturating_sub(u64::from(self.span) * 1000)
    }

    fn merge(&mut self, other: Self) {
        let count = u64::from(self.count) + u64::from(other.count);
        *self = Self::new(self.since().min(other.since()), self.at.max(other.at), count);
    }

    /// How many of the requests arrived after `start` and not after `end`.
    fn count_within(&self, start: Option<u64>, end: u64) -> f64 {
        let since = self.since();
        let is_whole = self.at <= end && start.is_none_or(|start| since >= start || self.at == since);
        if is_whole {
            return f64::from(self.count);
        }
        let within = self.at.min(end).saturating_sub(since.max(start.unwrap_or(0)));
        f64::from(self.count) * within as f64 / (self.at - since).max(1) as f64
    }
}

fn is_outdated(at: u64, newest: u64) -> bool {
    newest.saturating_sub(at) > nanos(RETAINED)
}

/// Nanoseconds; what does not fit (584 years) is as good as forever.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(crate) mod tests;
