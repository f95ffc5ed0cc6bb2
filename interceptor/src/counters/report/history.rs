//! Arrivals of each of the last seconds, so that a scaler that has just started has full windows at once.

use std::collections::VecDeque;
use std::time::Duration;

/// The longest history; a window beyond it fills up by itself.
const MAX_SECONDS: u64 = 3600;

/// Arrivals per second of uptime, newest last.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// The second of the newest entry.
    newest: u64,
    arrivals: VecDeque<u32>,
}

impl History {
    /// Notes arrivals in the second of `now`, and forgets what is older than `keep` seconds.
    pub(crate) fn record(&mut self, now: Duration, arrivals: u64, keep: u64) {
        if arrivals == 0 {
            return;
        }
        let second = now.as_secs();
        let keep = keep.min(MAX_SECONDS);
        if self.arrivals.is_empty() || second.saturating_sub(self.newest) > keep {
            self.arrivals.clear();
            self.newest = second;
            self.arrivals.push_back(0);
        }
        while self.newest < second {
            self.newest += 1;
            self.arrivals.push_back(0);
        }
        while self.arrivals.len() as u64 > keep + 1 {
            self.arrivals.pop_front();
        }
        if let Some(newest) = self.arrivals.back_mut() {
            *newest = newest.saturating_add(u32::try_from(arrivals).unwrap_or(u32::MAX));
        }
    }

    /// Arrivals of each of the last seconds, newest first, with `news` that are not recorded yet in the first.
    pub(crate) fn recent(&self, now: Duration, news: u64, keep: u64) -> Vec<u32> {
        let silent = if self.arrivals.is_empty() {
            0
        } else {
            now.as_secs().saturating_sub(self.newest)
        };
        let keep = usize::try_from(keep.min(MAX_SECONDS) + 1).unwrap_or(usize::MAX);
        let zeros = std::iter::repeat_n(0, usize::try_from(silent).unwrap_or(usize::MAX));
        let mut recent: Vec<u32> = zeros.chain(self.arrivals.iter().rev().copied()).take(keep).collect();
        if recent.is_empty() {
            recent.push(0);
        }
        recent[0] = recent[0].saturating_add(u32::try_from(news).unwrap_or(u32::MAX));
        while recent.last() == Some(&0) {
            recent.pop();
        }
        recent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn seconds_come_newest_first_with_gaps_as_zeros() {
        let mut history = History::default();
        history.record(at(1.2), 3, 60);
        history.record(at(1.9), 1, 60);
        history.record(at(4.0), 2, 60);
        assert_eq!(history.recent(at(5.5), 0, 60), [0, 2, 0, 0, 4]);
        assert_eq!(history.recent(at(4.5), 7, 60), [9, 0, 0, 4]);
    }

    #[test]
    fn what_is_older_than_asked_is_forgotten() {
        let mut history = History::default();
        history.record(at(1.0), 5, 2);
        history.record(at(3.0), 1, 2);
        assert_eq!(history.recent(at(3.0), 0, 2), [1, 0, 5]);
        history.record(at(4.0), 1, 2);
        assert_eq!(history.recent(at(4.0), 0, 2), [1, 1]);
        history.record(at(100.0), 4, 2);
        assert_eq!(history.recent(at(100.0), 0, 2), [4]);
        assert_eq!(history.recent(at(200.0), 0, 2), Vec::<u32>::new());
    }

    #[test]
    fn a_long_silence_costs_no_memory() {
        let mut history = History::default();
        history.record(at(1.0), 1, 60);
        history.record(at(1e9), 1, 60);
        assert_eq!(history.arrivals.len(), 1);
    }
}
