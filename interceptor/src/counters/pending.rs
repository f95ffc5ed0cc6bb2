//! The pending requests of each target: counted by ownership, read without locks.
//!
//! A request enters by [`Target::enter`] and leaves when the guard is dropped, wherever that happens: an early return,
//! an error, a client that went away. The guard is bound to the counters themselves, not to a key, so a route that is
//! removed and comes back never loses or doubles a request.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use keda_http_core::target::TargetKey;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// The counters of all targets. Cheap to clone.
#[derive(Clone)]
pub(crate) struct PendingRequests {
    shared: Arc<Shared>,
}

struct Shared {
    boot: Instant,
    targets: Mutex<HashMap<TargetKey, Arc<Target>>>,
    /// Targets that need a report at once.
    edges: Mutex<Vec<Arc<Target>>>,
    edge: Notify,
}

/// The counters of one target.
pub(crate) struct Target {
    pub(crate) key: TargetKey,
    shared: std::sync::Weak<Shared>,
    boot: Instant,
    arrivals: AtomicU64,
    departures: AtomicU64,
    waiting: AtomicU64,
    /// Until when the workload counts as starting even if no caller waits, in nanoseconds since boot; 0 means it does
    /// not.
    starting_until: AtomicU64,
    /// Sum of leave times minus sum of enter times, in nanoseconds since boot, wrapping. With `pending x now` added
    /// it is the integral of pending over time.
    balance: AtomicU64,
    /// Arrivals and departures whose time is in `balance`. Equal to their sum when no request is just being counted.
    settled: AtomicU64,
    /// Whether the reporter reads this target each interval. If not, it is quiet: the next arrival is an edge.
    announced: AtomicBool,
    retired: AtomicBool,
    window_secs: AtomicU64,
    /// When a report of this target last went to a scaler, in nanoseconds since boot; 0 is never.
    signalled: AtomicU64,
}

/// The numbers of one target at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    /// Requests that arrived since boot.
    pub(crate) arrivals: u64,
    /// Requests that arrived and have not ended.
    pub(crate) pending: u64,
    /// Of those, the ones held because no endpoint was ready, until they have their connection.
    pub(crate) waiting: u64,
    /// Whether a request was held and no endpoint has been ready since, until the time it might be held has passed.
    pub(crate) starting: bool,
    /// The integral of pending over time since boot, in request-nanoseconds, wrapping. `None` when requests came and
    /// went so fast that it could not be read whole.
    pub(crate) pending_nanos: Option<u64>,
}

/// Whether the reporter has stopped reading a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quiet {
    /// Its next arrival is an edge.
    Yes,
    /// The reporter goes on reading it.
    No,
}

/// A pending request; dropping it is its end.
pub(crate) struct Pending {
    target: Arc<Target>,
    entered: Duration,
}

/// A held request; dropping it ends the wait, not the request.
pub(crate) struct Waiting {
    target: Arc<Target>,
}

impl Default for PendingRequests {
    fn default() -> Self {
        Self {
            shared: Arc::new(Shared {
                boot: Instant::now(),
                targets: Mutex::default(),
                edges: Mutex::default(),
                edge: Notify::new(),
            }),
        }
    }
}

impl PendingRequests {
    /// Time since boot, the clock of all reports.
    pub(crate) fn uptime(&self) -> Duration {
        self.shared.boot.elapsed()
    }

    /// The counters of a target, which are created if they do not exist. They outlive changes of the route. `window` is
    /// how far back arrivals are remembered.
    pub(crate) fn target(&self, key: &TargetKey, window: Duration) -> Arc<Target> {
        let mut targets = self.shared.targets.lock();
        let target = targets
            .entry(key.clone())
            .or_insert_with(|| Arc::new(self.new_target(key)));
        target.retired.store(false, Ordering::SeqCst);
        target
            .window_secs
            .store(window.as_secs().saturating_add(1), Ordering::Relaxed);
        target.clone()
    }

    /// The counters of a target that exists.
    pub(crate) fn existing(&self, key: &TargetKey) -> Option<Arc<Target>> {
        self.shared.targets.lock().get(key).cloned()
    }

    /// The counters of all targets.
    pub(crate) fn targets(&self) -> Vec<Arc<Target>> {
        self.shared.targets.lock().values().cloned().collect()
    }

    fn new_target(&self, key: &TargetKey) -> Target {
        Target {
            key: key.clone(),
            shared: Arc::downgrade(&self.shared),
            boot: self.shared.boot,
            arrivals: AtomicU64::new(0),
            departures: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            starting_until: AtomicU64::new(0),
            balance: AtomicU64::new(0),
            settled: AtomicU64::new(0),
            announced: AtomicBool::new(false),
            retired: AtomicBool::new(false),
            window_secs: AtomicU64::new(0),
            signalled: AtomicU64::new(0),
        }
    }

    /// The route of this target is gone. Its counters stay until the last of its requests has ended.
    pub(crate) fn retire(&self, key: &TargetKey) {
        let target = self.shared.targets.lock().get(key).cloned();
        if let Some(target) = target {
            target.retired.store(true, Ordering::SeqCst);
            self.shared.push_edge(target);
        }
    }

    /// Drops the counters of a retired target without pending requests. `false` when it is in use.
    pub(crate) fn remove_retired(&self, target: &Target) -> bool {
        let mut targets = self.shared.targets.lock();
        let idle = target.retired.load(Ordering::SeqCst) && target.counts(self.uptime()).pending == 0;
        let same = targets
            .get(&target.key)
            .is_some_and(|known| std::ptr::eq(&**known, target));
        if idle && same {
            targets.remove(&target.key);
        }
        idle && same
    }

    /// All targets and their numbers now.
    pub(crate) fn snapshot(&self) -> Vec<(TargetKey, Counts)> {
        let now = self.uptime();
        let targets = self.shared.targets.lock();
        targets
            .values()
            .map(|target| (target.key.clone(), target.counts(now)))
            .collect()
    }

    /// Waits until a target needs a report at once, and returns all that do.
    pub(crate) async fn edges(&self) -> Vec<Arc<Target>> {
        loop {
            let notified = self.shared.edge.notified();
            let edges = std::mem::take(&mut *self.shared.edges.lock());
            if !edges.is_empty() {
                return edges;
            }
            notified.await;
        }
    }
}

impl Shared {
    fn push_edge(&self, target: Arc<Target>) {
        self.edges.lock().push(target);
        self.edge.notify_one();
    }
}

impl Target {
    /// A request has arrived.
    pub(crate) fn enter(self: &Arc<Self>) -> Pending {
        let entered = self.boot.elapsed();
        self.arrivals.fetch_add(1, Ordering::SeqCst);
        self.balance.fetch_sub(nanos(entered), Ordering::SeqCst);
        self.settled.fetch_add(1, Ordering::SeqCst);
        if !self.announced.load(Ordering::SeqCst) {
            self.announce();
        }
        Pending {
            target: self.clone(),
            entered,
        }
    }

    /// The first arrival after silence is reported at once, later ones in the next regular report.
    fn announce(self: &Arc<Self>) {
        if !self.announced.swap(true, Ordering::SeqCst) {
            self.push_edge();
        }
    }

    fn push_edge(self: &Arc<Self>) {
        if let Some(shared) = self.shared.upgrade() {
            shared.push_edge(self.clone());
        }
    }

    /// Makes an idle target quiet, unless a request has arrived meanwhile.
    pub(crate) fn try_quiet(&self, seen: Counts) -> Quiet {
        self.announced.store(false, Ordering::SeqCst);
        if self.arrivals.load(Ordering::SeqCst) == seen.arrivals {
            return Quiet::Yes;
        }
        // A request in between has either seen the cleared flag and announced the target, or the flag is set again
        // here.
        if self.announced.swap(true, Ordering::SeqCst) {
            Quiet::Yes
        } else {
            Quiet::No
        }
    }

    /// The numbers at `now` (time since boot).
    pub(crate) fn counts(&self, now: Duration) -> Counts {
        const ATTEMPTS: usize = 64;
        for _ in 0..ATTEMPTS {
            let (settled, balance) = (self.settled.load(Ordering::SeqCst), self.balance.load(Ordering::SeqCst));
            let departures = self.departures.load(Ordering::SeqCst);
            let arrivals = self.arrivals.load(Ordering::SeqCst);
            if settled == arrivals.wrapping_add(departures) {
                let pending = arrivals.saturating_sub(departures);
                let integral = balance.wrapping_add(pending.wrapping_mul(nanos(now)));
                return self.counted(now, arrivals, pending, Some(integral));
            }
            std::hint::spin_loop();
        }
        let departures = self.departures.load(Ordering::SeqCst);
        let arrivals = self.arrivals.load(Ordering::SeqCst);
        self.counted(now, arrivals, arrivals.saturating_sub(departures), None)
    }

    fn counted(&self, now: Duration, arrivals: u64, pending: u64, pending_nanos: Option<u64>) -> Counts {
        Counts {
            arrivals,
            pending,
            waiting: self.waiting.load(Ordering::SeqCst).min(pending),
            starting: self.starting_until.load(Ordering::SeqCst) > nanos(now),
            pending_nanos,
        }
    }

    /// Whether the route is gone.
    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::SeqCst)
    }

    /// A report of this target went to at least one scaler.
    pub(crate) fn mark_signalled(&self, now: Duration) {
        self.signalled.store(nanos(now), Ordering::Relaxed);
    }

    /// The workload has been woken, and counts as starting until `limit` has passed or an endpoint is ready.
    pub(crate) fn begin_start(&self, limit: Duration) {
        let until = nanos(self.boot.elapsed().saturating_add(limit));
        self.starting_until.fetch_max(until, Ordering::SeqCst);
    }

    pub(crate) fn end_start(&self) {
        self.starting_until.store(0, Ordering::SeqCst);
    }

    /// How many seconds back its arrivals are remembered.
    pub(crate) fn window_secs(&self) -> u64 {
        self.window_secs.load(Ordering::Relaxed)
    }

    /// The numbers now.
    pub(crate) fn now(&self) -> Counts {
        self.counts(self.boot.elapsed())
    }
}

impl Pending {
    pub(crate) fn target(&self) -> &Arc<Target> {
        &self.target
    }

    pub(crate) fn arrived(&self) -> Instant {
        self.target.boot + self.entered
    }

    /// When a report that counts this request was sent to a scaler; `None` when no scaler was connected.
    pub(crate) fn signalled(&self) -> Option<Instant> {
        let at = Duration::from_nanos(self.target.signalled.load(Ordering::Relaxed));
        (at >= self.entered).then(|| self.target.boot + at)
    }

    /// The request is held from now on, as one of at most `limit`; `None` when there are so many already. The first one
    /// held for a target is reported at once.
    pub(crate) fn wait(&self, limit: Option<NonZeroU32>) -> Option<Waiting> {
        let limit = limit.map_or(u64::MAX, |limit| limit.get().into());
        let one_more = |waiting| (waiting < limit).then_some(waiting + 1);
        let waiting = &self.target.waiting;
        let before = waiting
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more)
            .ok()?;
        if before == 0 {
            self.target.announced.store(true, Ordering::SeqCst);
            self.target.push_edge();
        }
        Some(Waiting {
            target: self.target.clone(),
        })
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let left = nanos(self.target.boot.elapsed());
        self.target.departures.fetch_add(1, Ordering::SeqCst);
        self.target.balance.fetch_add(left, Ordering::SeqCst);
        self.target.settled.fetch_add(1, Ordering::SeqCst);
    }
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Waiting").field(&self.target.key).finish()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.target.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Nanoseconds; 64 bits last for 584 years of uptime.
pub(crate) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
