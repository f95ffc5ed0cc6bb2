//! Pauses that double, from a first to a longest.

use std::time::Duration;

/// The pauses of one thing that is tried again and again.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// The first pause and the longest.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            next: first,
        }
    }

    /// Of a process that ends by itself: 1 s doubling to 30 s. Kubernetes starts at 10 s and goes up to 5 min; a
    /// developer looks at the terminal.
    pub fn of_crashes() -> Self {
        Self::new(Duration::from_secs(1), Duration::from_secs(30))
    }

    /// The pause before the next attempt; the one after it is twice as long.
    pub fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.longest);
        pause
    }

    /// The next pause is the first one again.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

/// A process that has run this long before it ended counts as healthy: its next pause is the first one.
pub const HEALTHY_AFTER: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_until_reset() {
        let mut backoff = Backoff::new(Duration::from_secs(2), Duration::from_secs(60));
        let pauses: Vec<u64> = (0..7).map(|_| backoff.pause().as_secs()).collect();
        assert_eq!(pauses, [2, 4, 8, 16, 32, 60, 60]);
        backoff.reset();
        assert_eq!(backoff.pause(), Duration::from_secs(2));
    }
}
