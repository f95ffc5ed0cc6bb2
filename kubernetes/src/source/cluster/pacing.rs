//! How much is asked for at once, how long is waited, and how often it is tried again.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// How the watches go about it.
#[derive(Debug, Clone, Copy)]
pub struct Pacing {
    /// Objects in one answer of a list: more are more memory at once.
    pub page: u32,
    /// Lists and starts of watches that may be on their way at once: so many answers may be in memory.
    pub requests: usize,
    /// For the answer of a list, and the beginning of a watch's.
    pub answer: Duration,
    /// How long a watch lasts at least before it is begun anew, in whole seconds; up to half as long again.
    pub watch: Duration,
    /// How much longer nothing may be heard.
    pub grace: Duration,
    /// After the first failure; doubled with each further one.
    pub first_pause: Duration,
    /// The longest one: a held request may wait for what comes after the outage.
    pub longest_pause: Duration,
    /// After a refusal, which somebody has to mend.
    pub refused_pause: Duration,
    /// How long a namespace is watched after its last route: one that is replaced is gone for a moment, and what it leads to
    /// is not to be unknown meanwhile.
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
    /// How long the next watch lasts. Watches that began together do not end together.
    pub fn watch(&self) -> Duration {
        let whole = self.watch + self.watch.mul_f64(chance() / 2.0);
        Duration::from_secs(whole.as_secs().max(1))
    }

    /// The pause after a refusal.
    pub fn after_refusal(&self) -> Duration {
        jittered(self.refused_pause)
    }

    /// The pause after so many failures in a row.
    pub fn after(&self, failures: u32) -> Duration {
        let doubled = self.first_pause.saturating_mul(1 << failures.saturating_sub(1).min(16));
        jittered(doubled.min(self.longest_pause))
    }
}

/// Between half of it and all of it, so that many watches do not come back together.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + chance() / 2.0)
}

/// From 0 to 1.
fn chance() -> f64 {
    f64::from(RandomState::new().hash_one(()) as u32) / f64::from(u32::MAX)
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
