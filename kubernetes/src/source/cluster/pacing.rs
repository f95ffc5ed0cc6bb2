//! Page sizes, concurrency, timeouts and retry intervals of the watches.

use std::time::Duration;

#[derive(Debug, Clone, Copy)]
pub struct Pacing {
    /// Objects in one page of a list. A larger page takes more memory at once.
    pub page: u32,
    /// Concurrent requests for lists and starts of watches; so many responses may be in memory.
    pub requests: usize,
    /// The timeout of a list, and of the response head of a watch.
    pub answer: Duration,
    /// The shortest duration of a watch, in whole seconds; jitter adds up to half of it.
    pub watch: Duration,
    /// How long after its duration a silent watch is given up.
    pub grace: Duration,
    /// The pause after the first failure; it doubles with each further one.
    pub first_pause: Duration,
    /// The longest pause: held requests may wait for changes that come after an outage.
    pub longest_pause: Duration,
    /// The pause after a refusal, which somebody has to fix.
    pub refused_pause: Duration,
    /// How long a namespace is watched after its last route is deleted: a route that is replaced is missing for a moment,
    /// and its endpoints must stay known.
    pub linger: Duration,
}

impl Default for Pacing {
    fn default() -> Self {
        Self {
            page: 250,
            requests: 16,
            answer: Duration::from_secs(30),
            watch: Duration::from_secs(120),
            grace: Duration::from_secs(5),
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(3),
            refused_pause: Duration::from_secs(30),
            linger: Duration::from_secs(10),
        }
    }
}

impl Pacing {
    /// The duration of the next watch, jittered so that watches that began together do not end together.
    pub fn watch(&self) -> Duration {
        let whole = self.watch + self.watch.mul_f64(fastrand::f64() / 2.0);
        Duration::from_secs(whole.as_secs().max(1))
    }

    pub fn after_refusal(&self) -> Duration {
        jittered(self.refused_pause)
    }

    /// The pause after this many failures in a row.
    pub fn after(&self, failures: u32) -> Duration {
        let doubled = self.first_pause.saturating_mul(1 << failures.saturating_sub(1).min(16));
        jittered(doubled.min(self.longest_pause))
    }
}

/// Between half of the pause and all of it, so that many watches do not return together.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + fastrand::f64() / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest_and_are_never_shorter_than_half() {
        let pacing = Pacing::default();
        for _ in 0..200 {
            let pauses = [1, 2, 3, 6, 40, u32::MAX].map(|failures| pacing.after(failures).as_millis());
            let allowed = [50..=100, 100..=200, 200..=400, 1500..=3000, 1500..=3000, 1500..=3000];
            for (pause, allowed) in pauses.iter().zip(allowed) {
                assert!(allowed.contains(pause), "{pauses:?}");
            }
            assert!((120..=180).contains(&pacing.watch().as_secs()));
            assert!((15..=30).contains(&pacing.after_refusal().as_secs()));
        }
    }
}
