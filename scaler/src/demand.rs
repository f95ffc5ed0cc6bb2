//! The reports of all interceptors, folded and shared, and a signal for those who wait for a target's rising edge.
//!
//! A rising edge is found where the report is taken in: the target is judged right before and right after it. So no timer
//! has to notice that a window ran out, and no edge between two looks is missed.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use keda_http_core::demand::{Demand, Reading, Report};
use keda_http_core::target::TargetKey;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

/// The demand of all targets; cheap to clone.
#[derive(Clone)]
pub struct SharedDemand {
    inner: Arc<Mutex<Inner>>,
    /// The clock's origin.
    origin: Instant,
}

/// What is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// One target: active while something is pending or arrived within the window.
    Target {
        /// Which.
        key: TargetKey,
        /// How long arrivals keep it active.
        window: Duration,
    },
    /// All targets together, for scaling the interceptor itself: active while anything is pending, or was within ten seconds.
    Everything,
}

/// A measured value.
#[derive(Debug, Clone, PartialEq)]
pub enum Measure {
    /// Pending requests of a target.
    Concurrency(TargetKey),
    /// Arrivals of a target.
    Rate {
        /// Which target.
        key: TargetKey,
        /// Over how long the average is taken.
        window: Duration,
        /// The unit of time of the average.
        granularity: Duration,
    },
    /// Pending requests of all targets together.
    TotalConcurrency,
}

/// A subscription to the rising edges of a scope. Dropping it ends it.
#[derive(Debug)]
pub struct Watcher {
    signal: Arc<Signal>,
    changes: watch::Receiver<Edges>,
}

/// What a watcher is told. Every report that touches its scope is a change.
#[derive(Debug, Clone, Copy)]
pub struct Edges {
    /// How many rising edges there have been.
    pub risen: u64,
    /// When the report of the last one was taken in.
    pub at: Instant,
}

#[derive(Debug)]
struct Signal {
    scope: Scope,
    edges: watch::Sender<Edges>,
}

struct Inner {
    demand: Demand,
    targets: HashMap<TargetKey, Vec<Weak<Signal>>>,
    everything: Vec<Weak<Signal>>,
    expired: Instant,
}

/// How often what has outlived its use is dropped, at most: only memory depends on it.
const EXPIRE_EVERY: Duration = Duration::from_secs(10);

impl SharedDemand {
    /// As [`Demand::new`].
    pub fn new(retention: Duration, debounce: Duration) -> Self {
        let origin = Instant::now();
        let inner = Inner {
            demand: Demand::new(retention, debounce),
            targets: HashMap::new(),
            everything: Vec::new(),
            expired: origin,
        };
        Self {
            inner: Arc::new(Mutex::new(inner)),
            origin,
        }
    }

    /// Takes a report in and tells those who watch a target that it touches.
    pub fn observe(&self, interceptor: &str, report: Report) {
        let at = Instant::now();
        let now = at - self.origin;
        let mut inner = self.inner.lock();
        inner.expire(at, now);
        let watched = inner.watched_by(&report);
        let before: Vec<bool> = watched
            .iter()
            .map(|signal| signal.is_active(&inner.demand, now))
            .collect();
        inner.demand.observe(interceptor, report, now);
        for (signal, was_active) in watched.iter().zip(before) {
            signal.tell(!was_active && signal.is_active(&inner.demand, now), at);
        }
    }

    /// Requests reach these interceptors and no others, as the cluster says.
    pub fn reached(&self, interceptors: HashSet<String>) {
        self.inner.lock().demand.reached(interceptors, self.now());
    }

    /// The interceptor's reports have stopped: its last one counts for the retention time.
    pub fn disconnect(&self, interceptor: &str) {
        self.inner.lock().demand.disconnect(interceptor, self.now());
    }

    /// The interceptor is gone for good.
    pub fn forget(&self, interceptor: &str) {
        self.inner.lock().demand.forget(interceptor);
    }

    /// Whether the scope is active.
    pub fn is_active(&self, scope: &Scope) -> Reading<bool> {
        scope.is_active(&self.inner.lock().demand, self.now())
    }

    /// Whether requests of the scope wait without an endpoint; with no data nobody is known to wait.
    pub fn anybody_waits(&self, scope: &Scope) -> bool {
        let Scope::Target { key, .. } = scope else { return false };
        matches!(self.inner.lock().demand.waiting(key, self.now()), Reading::Known(waiting) if waiting > 0)
    }

    /// The value: a pure read.
    pub fn measure(&self, measure: &Measure) -> Reading<f64> {
        let now = self.now();
        let demand = &self.inner.lock().demand;
        match measure {
            Measure::Concurrency(key) => demand.concurrency(key, now),
            Measure::Rate {
                key,
                window,
                granularity,
            } => demand.rate(key, *window, *granularity, now),
            Measure::TotalConcurrency => demand.total_concurrency(now),
        }
    }

    /// Subscribes to the scope's rising edges, and says whether it is active at this very moment.
    pub fn watch(&self, scope: Scope) -> (Watcher, Reading<bool>) {
        let edges = watch::Sender::new(Edges {
            risen: 0,
            at: Instant::now(),
        });
        let changes = edges.subscribe();
        let signal = Arc::new(Signal { scope, edges });
        let mut inner = self.inner.lock();
        inner.subscribe(&signal);
        let active = signal.scope.is_active(&inner.demand, self.now());
        (Watcher { signal, changes }, active)
    }

    fn now(&self) -> Duration {
        self.origin.elapsed()
    }
}

impl Watcher {
    /// What is watched.
    pub fn scope(&self) -> &Scope {
        &self.signal.scope
    }

    /// Waits for the next report that touches the scope; what has come since the last look counts.
    pub async fn changed(&mut self) -> Edges {
        // The sender lives in `self.signal`, so the channel cannot close.
        let _ = self.changes.changed().await;
        *self.changes.borrow_and_update()
    }
}

impl Measure {
    /// Whether it is about the interceptors themselves.
    pub fn is_of_interceptors(&self) -> bool {
        matches!(self, Self::TotalConcurrency)
    }
}

impl Scope {
    /// Whether it is about the interceptors themselves.
    pub fn is_of_interceptors(&self) -> bool {
        matches!(self, Self::Everything)
    }

    fn is_active(&self, demand: &Demand, now: Duration) -> Reading<bool> {
        match self {
            Self::Target { key, window } => demand.is_active(key, *window, now),
            Self::Everything => demand.is_anything_pending(now),
        }
    }
}

impl Signal {
    fn is_active(&self, demand: &Demand, now: Duration) -> bool {
        self.scope.is_active(demand, now) == Reading::Known(true)
    }

    fn tell(&self, rises: bool, at: Instant) {
        self.edges.send_modify(|edges| {
            if rises {
                *edges = Edges {
                    risen: edges.risen + 1,
                    at,
                };
            }
        });
    }
}

impl Inner {
    fn subscribe(&mut self, signal: &Arc<Signal>) {
        let signals = match &signal.scope {
            Scope::Target { key, .. } => self.targets.entry(key.clone()).or_default(),
            Scope::Everything => &mut self.everything,
        };
        signals.retain(|other| other.strong_count() > 0);
        signals.push(Arc::downgrade(signal));
    }

    fn watched_by(&self, report: &Report) -> Vec<Arc<Signal>> {
        let targets = report
            .targets
            .iter()
            .filter_map(|target| self.targets.get(&target.key))
            .flatten();
        targets.chain(&self.everything).filter_map(Weak::upgrade).collect()
    }

    fn expire(&mut self, at: Instant, now: Duration) {
        if at - self.expired < EXPIRE_EVERY {
            return;
        }
        self.expired = at;
        self.demand.expire(now);
        self.targets.retain(|_, signals| {
            signals.retain(|signal| signal.strong_count() > 0);
            !signals.is_empty()
        });
    }
}

#[cfg(test)]
mod tests;
