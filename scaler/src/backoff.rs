//! Pauses between attempts: short at first, doubling, with jitter.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// The pauses of one peer, or of whatever else is tried again.
#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

/// The first pause: a restarted interceptor is heard again within the blink that its restart takes.
pub const FIRST: Duration = Duration::from_millis(50);
/// The longest pause: an interceptor that comes back after an hour is heard this soon.
pub const LONGEST: Duration = Duration::from_secs(2);

impl Backoff {
    /// For interceptors: from [`FIRST`] to [`LONGEST`].
    pub fn new() -> Self {
        Self::between(FIRST, LONGEST)
    }

    /// From `first` to `longest`.
    pub fn between(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            next: first,
        }
    }

    /// The next pause: between half and the whole of a value that doubles up to the longest.
    pub fn pause(&mut self) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(self.longest);
        whole / 2 + (whole / 2).mul_f64(random_share())
    }

    /// It went well: the next pause is the first one again.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new()
    }
}

/// Between 0 and 1. The standard library seeds its hashers at random, which is all the chance that jitter needs.
fn random_share() -> f64 {
    let bits = RandomState::new().hash_one(0u8) >> 32;
    #[expect(clippy::cast_precision_loss, reason = "32 bits are exact in a f64")]
    let share = bits as f64 / f64::from(u32::MAX);
    share
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_start_again_after_success() {
        let mut backoff = Backoff::new();
        for whole in [50, 100, 200, 400, 800, 1600, 2000, 2000].map(Duration::from_millis) {
            let pause = backoff.pause();
            assert!(whole / 2 <= pause && pause <= whole, "{pause:?} of {whole:?}");
        }
        backoff.reset();
        assert!(backoff.pause() <= FIRST);
    }
}
