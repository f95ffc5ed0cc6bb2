//! Returns memory to the system. The allocator keeps freed memory between allocations in use: after a list of ten
//! thousand objects that is as much as the objects that are kept.

use std::time::Duration;

use tokio::time::Instant;

use crate::sleep;

/// Fewer objects than this are not worth the walk through the heap (about 2 KB each while they are taken in).
const MANY: usize = 1_000;
/// What comes in a row is worked off in a row.
const QUIET: Duration = Duration::from_secs(2);

/// What taking objects in has left behind.
#[derive(Debug, Default)]
pub struct Leftovers {
    objects: usize,
    last: Option<Instant>,
}

impl Leftovers {
    /// So many objects were taken in.
    pub fn add(&mut self, objects: usize) {
        self.objects = self.objects.saturating_add(objects);
        self.last = Some(Instant::now());
    }

    /// All objects were listed anew, however many of them were known already.
    pub fn add_all(&mut self) {
        self.add(MANY);
    }

    /// Gives it back when it is much and no more has come for a while; waits for ever where it is little. Cancelling
    /// loses nothing.
    pub async fn give_back(&mut self) {
        sleep::until(self.last.filter(|_| self.objects >= MANY).map(|last| last + QUIET)).await;
        *self = Self::default();
        // The walk takes milliseconds, in which other tasks of this thread would wait.
        let _ = tokio::task::spawn_blocking(give_back).await;
    }
}

/// Gives back what the allocator holds free, as far as it can.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        #[expect(unsafe_code, reason = "glibc has no other interface for it")]
        // SAFETY: takes a number, touches only the allocator's own free memory, and may be called from any thread at
        // any time.
        unsafe {
            libc::malloc_trim(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn given_back(leftovers: &mut Leftovers, within: Duration) -> bool {
        tokio::time::timeout(within, leftovers.give_back()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn much_is_given_back_once_after_a_quiet_while_and_little_never() {
        let mut leftovers = Leftovers::default();
        assert!(!given_back(&mut leftovers, QUIET * 10).await, "nothing is there");
        leftovers.add(MANY - 1);
        assert!(!given_back(&mut leftovers, QUIET * 10).await, "it is little");
        leftovers.add(1);
        assert!(!given_back(&mut leftovers, QUIET / 2).await, "more may come");
        leftovers.add(1);
        assert!(!given_back(&mut leftovers, QUIET * 3 / 4).await, "more has come");
        assert!(given_back(&mut leftovers, QUIET).await);
        assert!(!given_back(&mut leftovers, QUIET * 10).await, "it was given back");
    }
}
