//! One ready pod: how busy it is, whether it is ejected as an outlier, and its connection pools.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::{Duration, Instant};

use keda_http_core::session::EndpointId;
use keda_http_kubernetes::endpoints::{Address, AppProtocol, ReadyEndpoint};

use crate::counters::pending::nanos;
use crate::upstream::pool::Pool;

/// How long an endpoint stays ejected after a failure. Requests go to it all the same when no other one is ready.
const EJECTION: Duration = Duration::from_secs(1);

/// All ejection times count from here, so that they fit into an atomic integer.
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// How many pools an endpoint needs and what they may keep.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PoolSettings {
    /// One pool for each worker.
    pub(crate) workers: u16,
    /// Idle connections kept to one endpoint by one worker.
    pub(crate) max_idle: u32,
}

/// A ready pod. Its connections live as long as somebody refers to it: once it has left its backend's snapshot and
/// the last request has let go of it, its idle connections close by themselves.
pub(crate) struct Endpoint {
    pub(crate) address: Address,
    /// Identifies it in session cookies.
    pub(crate) id: EndpointId,
    pub(crate) protocol: AppProtocol,
    in_flight: AtomicU32,
    /// Nanoseconds since `ORIGIN`; 0: it is not ejected.
    ejected_until: AtomicU64,
    /// Nanoseconds since `ORIGIN` of the first failure since its last response; 0: none.
    failing_since: AtomicU64,
    removed: AtomicBool,
    /// Whether it has sent a response head too large for a usual connection.
    sends_large_heads: AtomicBool,
    settings: PoolSettings,
    /// One for each worker, made for the first request: most of thousands of endpoints have none.
    pools: OnceLock<Box<[Pool]>>,
}

/// An endpoint that was picked for one request, which is in flight there until this is dropped.
pub(crate) struct PickedEndpoint {
    endpoint: Arc<Endpoint>,
}

impl Endpoint {
    pub(crate) fn new(ready: &ReadyEndpoint, protocol: AppProtocol, settings: PoolSettings) -> Self {
        Self {
            address: ready.address.clone(),
            id: ready.id,
            protocol,
            in_flight: AtomicU32::new(0),
            ejected_until: AtomicU64::new(0),
            failing_since: AtomicU64::new(0),
            removed: AtomicBool::new(false),
            sends_large_heads: AtomicBool::new(false),
            settings,
            pools: OnceLock::new(),
        }
    }

    pub(crate) fn pool(&self, worker: usize) -> &Pool {
        &self.pools()[worker]
    }

    fn pools(&self) -> &[Pool] {
        let PoolSettings { workers, max_idle } = self.settings;
        self.pools
            .get_or_init(|| (0..workers).map(|_| Pool::new(max_idle as usize)).collect())
    }

    /// Ejects it after it refused, reset or did not answer, and returns for how long it has been failing.
    pub(crate) fn eject(&self) -> Duration {
        let now = ORIGIN.elapsed();
        self.ejected_until.store(nanos(now + EJECTION), Ordering::Relaxed);
        let first = self
            .failing_since
            .compare_exchange(0, nanos(now), Ordering::Relaxed, Ordering::Relaxed);
        now.saturating_sub(Duration::from_nanos(first.err().unwrap_or(nanos(now))))
    }

    /// Ends its ejection: it has answered.
    pub(crate) fn reinstate(&self) {
        if self.ejected_until.load(Ordering::Relaxed) == 0 {
            return;
        }
        self.ejected_until.store(0, Ordering::Relaxed);
        self.failing_since.store(0, Ordering::Relaxed);
    }

    pub(crate) fn is_ejected(&self) -> bool {
        self.is_ejected_at(ORIGIN.elapsed())
    }

    fn is_ejected_at(&self, now: Duration) -> bool {
        let until = self.ejected_until.load(Ordering::Relaxed);
        until != 0 && u128::from(until) > now.as_nanos()
    }

    /// Whether it has left its backend; connections to it are not kept then.
    pub(crate) fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Relaxed)
    }

    pub(crate) fn remove(&self) {
        self.removed.store(true, Ordering::Relaxed);
        // Pools that nobody has used yet are made too: whoever uses them later must find them closed.
        self.pools().iter().for_each(Pool::close_all);
    }

    /// Connections to it are made with room for many header lines from now on; the others are closed.
    pub(crate) fn expect_large_heads(&self) {
        if !self.sends_large_heads.swap(true, Ordering::Relaxed) {
            self.close_idle(Duration::ZERO);
        }
    }

    pub(crate) fn sends_large_heads(&self) -> bool {
        self.sends_large_heads.load(Ordering::Relaxed)
    }

    /// Closes connections that have been idle for longer than `limit`.
    pub(crate) fn close_idle(&self, limit: Duration) {
        let pools = self.pools.get().into_iter().flatten();
        pools.for_each(|pool| pool.close_idle(limit));
    }

    #[cfg(test)]
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }
}

impl PickedEndpoint {
    pub(crate) fn new(endpoint: Arc<Endpoint>) -> Self {
        endpoint.in_flight.fetch_add(1, Ordering::Relaxed);
        Self { endpoint }
    }
}

impl std::ops::Deref for PickedEndpoint {
    type Target = Arc<Endpoint>;

    fn deref(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }
}

impl Drop for PickedEndpoint {
    fn drop(&mut self) {
        self.endpoint.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Power of two choices among at least two endpoints: of two random ones the one with fewer requests in flight. When
/// both are ejected, all endpoints are compared; an ejected one is chosen only when all are.
pub(crate) fn choose(endpoints: &[Arc<Endpoint>]) -> &Arc<Endpoint> {
    let now = ORIGIN.elapsed();
    let better = |a: usize, b: usize| {
        let rank = |i: usize| {
            (
                endpoints[i].is_ejected_at(now),
                endpoints[i].in_flight.load(Ordering::Relaxed),
            )
        };
        if rank(b) < rank(a) { b } else { a }
    };
    let (first, second) = choose_two(endpoints.len());
    let chosen = better(first, second);
    if endpoints[chosen].is_ejected_at(now) {
        let all = (0..endpoints.len()).reduce(better).unwrap_or(chosen);
        return &endpoints[all];
    }
    &endpoints[chosen]
}

/// Two different indices below `len`, which is at least 2.
fn choose_two(len: usize) -> (usize, usize) {
    let first = fastrand::usize(..len);
    let second = fastrand::usize(..len - 1);
    (first, if second >= first { second + 1 } else { second })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_different_indices_is_chosen() {
        let mut seen = [[0; 3]; 3];
        for _ in 0..3_000 {
            let (first, second) = choose_two(3);
            seen[first][second] += 1;
        }
        for (first, row) in seen.iter().enumerate() {
            for (second, &times) in row.iter().enumerate() {
                assert_eq!(times > 300, first != second, "{first} and {second}: {times} times");
            }
        }
    }
}
