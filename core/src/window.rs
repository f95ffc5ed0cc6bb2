//! Arrivals of one target over time, and the rate read from them.

use std::collections::VecDeque;
use std::time::Duration;

/// For how long arrivals are kept, counted back from the newest. Longer windows are averaged over this.
pub const RETAINED: Duration = Duration::from_secs(3600);

/// Arrivals of the same slot share an entry. Every granularity that is a multiple of it is exact.
const SLOT: u64 = 50_000_000;

/// The slot of entries older than [`FINE`] once there are [`MOST_ENTRIES`].
const COARSE_SLOT: u64 = 1_000_000_000;

/// For how long entries keep the fine slot when there are many. An hour then takes at most 4000 fine and 3400 coarse entries.
const FINE: u64 = 200_000_000_000;

/// From this length on, old entries are put together.
const MOST_ENTRIES: usize = 8192;

/// Arrivals of one target, newest last. Times are monotonic, counted from any fixed origin (the process's start).
#[derive(Debug, Clone, Default)]
pub struct Arrivals {
    /// In order of time, never with a count of 0.
    entries: VecDeque<Entry>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// The newest arrival of the entry, in nanoseconds.
    at: u64,
    count: u64,
}

impl Arrivals {
    /// Notes that `count` requests arrived at `at`. Times may come slightly out of order (several interceptors);
    /// what is older than the longest retained window is dropped.
    pub fn record(&mut self, at: Duration, count: u64) {
        let entry = Entry { at: nanos(at), count };
        if count == 0 || self.newest().is_some_and(|newest| is_outdated(entry.at, newest)) {
            return;
        }
        self.insert(entry);
        self.drop_outdated();
        if self.entries.len() >= MOST_ENTRIES {
            self.coarsen();
        }
    }

    /// The average number of arrivals per `granularity` over the last `window`: a pure read.
    ///
    /// Arrivals are counted in buckets of `granularity`, the running one included, and divided by the number of buckets
    /// since the first arrival after a silence of at least `window`, at most by all buckets of the window. So a target
    /// that has just woken is not averaged with the silence before it. The result is not rounded.
    pub fn rate(&self, window: Duration, granularity: Duration, now: Duration) -> f64 {
        let granularity = nanos(granularity).max(1);
        let buckets = nanos(window).div_ceil(granularity).max(1);
        let running = nanos(now) / granularity;
        let (mut sum, mut first) = (0_u64, running);
        for entry in self.until(now) {
            let bucket = entry.at / granularity;
            if first - bucket >= buckets {
                break;
            }
            if running - bucket < buckets {
                sum = sum.saturating_add(entry.count);
            }
            first = bucket;
            if running - bucket >= buckets {
                break;
            }
        }
        sum as f64 / (running - first).saturating_add(1).min(buckets) as f64
    }

    /// Whether anything arrived within the last `window`; never derived from a rounded average. What arrived exactly one
    /// window ago does not count.
    pub fn any_within(&self, window: Duration, now: Duration) -> bool {
        self.until(now)
            .next()
            .is_some_and(|newest| nanos(now) - newest.at < nanos(window))
    }

    /// Gives memory back that only old arrivals use. The newest is kept whatever its age.
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
    fn merge(&mut self, other: Self) {
        self.at = self.at.max(other.at);
        self.count = self.count.saturating_add(other.count);
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
