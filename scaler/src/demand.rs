//! The combined demand of all interceptors, and a signal for streams that wait for a target to become active.
//!
//! A rising edge is detected where a report is applied: the target's activity is compared right before and right after
//! it. So no timer has to notice that a window ran out, and no edge between two polls is missed.

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
    state: Arc<Mutex<DemandState>>,
    /// The clock's origin.
    origin: Instant,
}

/// What a call asks about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ActivityScope {
    /// One target: active while something is pending or arrived within the window.
    Target {
        key: TargetKey,
        /// How long an arrival keeps the target active.
        window: Duration,
    },
    /// All targets together, for scaling the interceptor itself: active while anything is pending, or was within ten
    /// seconds.
    Everything,
}

/// A measured value.
#[derive(Debug, Clone, PartialEq)]
pub enum Measure {
    /// Pending requests of a target.
    Concurrency(TargetKey),
    /// Arrivals of a target.
    Rate {
        /// The target whose arrivals are counted.
        key: TargetKey,
        /// The time over which the average is taken.
        window: Duration,
        /// The unit of time of the average: arrivals per granularity.
        granularity: Duration,
    },
    /// Pending requests of all targets together.
    TotalConcurrency,
}

/// A subscription to the rising edges of a scope. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Watcher {
    subscriber: Arc<Subscriber>,
    changes: watch::Receiver<Edges>,
}

/// The rising edges that a watcher has seen. Every report about its scope notifies the watcher.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Edges {
    /// The number of rising edges so far.
    pub(crate) count: u64,
    /// When the report that caused the last one was applied.
    pub(crate) at: Instant,
}

#[derive(Debug)]
struct Subscriber {
    scope: ActivityScope,
    edges: watch::Sender<Edges>,
}

struct DemandState {
    demand: Demand,
    targets: HashMap<TargetKey, Vec<Weak<Subscriber>>>,
    everything: Vec<Weak<Subscriber>>,
    expired: Instant,
}

/// The shortest time between two removals of expired data. Only memory depends on it.
const EXPIRE_EVERY: Duration = Duration::from_secs(10);

impl SharedDemand {
    /// As [`Demand::new`].
    pub fn new(retention: Duration, debounce: Duration) -> Self {
        let origin = Instant::now();
        let state = DemandState {
            demand: Demand::new(retention, debounce),
            targets: HashMap::new(),
            everything: Vec::new(),
            expired: origin,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            origin,
        }
    }

    /// Applies a report and notifies the watchers of its targets.
    pub(crate) fn observe(&self, interceptor: &str, report: Report) {
        let at = Instant::now();
        let now = at - self.origin;
        let mut state = self.state.lock();
        state.expire(at, now);
        let subscribers = state.subscribers_of(&report);
        let before: Vec<bool> = subscribers
            .iter()
            .map(|subscriber| subscriber.is_active(&state.demand, now))
            .collect();
        state.demand.observe(interceptor, report, now);
        for (subscriber, was_active) in subscribers.iter().zip(before) {
            subscriber.notify(!was_active && subscriber.is_active(&state.demand, now), at);
        }
    }

    /// Sets the interceptors that new requests can reach: those whose pods the cluster reports as ready.
    pub(crate) fn set_reachable(&self, interceptors: HashSet<String>) {
        self.state.lock().demand.set_reachable(interceptors, self.now());
    }

    /// The interceptor's reports have stopped: its last one stays in force for the retention time.
    pub(crate) fn disconnect(&self, interceptor: &str) {
        self.state.lock().demand.disconnect(interceptor, self.now());
    }

    /// The interceptor no longer exists.
    pub(crate) fn forget(&self, interceptor: &str) {
        self.state.lock().demand.forget(interceptor);
    }

    pub(crate) fn is_active(&self, scope: &ActivityScope) -> Reading<bool> {
        scope.is_active(&self.state.lock().demand, self.now())
    }

    /// Whether requests of the scope are held without an endpoint. Without data the answer is `false`.
    pub(crate) fn has_waiting_requests(&self, scope: &ActivityScope) -> bool {
        let ActivityScope::Target { key, .. } = scope else {
            return false;
        };
        matches!(self.state.lock().demand.waiting(key, self.now()), Reading::Known(waiting) if waiting > 0)
    }

    /// The current value; changes nothing.
    pub fn measure(&self, measure: &Measure) -> Reading<f64> {
        let now = self.now();
        let demand = &self.state.lock().demand;
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

    /// Subscribes to the scope's rising edges, and returns whether it is active now.
    pub(crate) fn watch(&self, scope: ActivityScope) -> (Watcher, Reading<bool>) {
        let edges = watch::Sender::new(Edges {
            count: 0,
            at: Instant::now(),
        });
        let changes = edges.subscribe();
        let subscriber = Arc::new(Subscriber { scope, edges });
        let mut state = self.state.lock();
        let at = Instant::now();
        // Reports remove them too, but there may be none.
        state.expire(at, at - self.origin);
        state.subscribe(&subscriber);
        let active = subscriber.scope.is_active(&state.demand, self.now());
        (Watcher { subscriber, changes }, active)
    }

    fn now(&self) -> Duration {
        self.origin.elapsed()
    }
}

impl Watcher {
    pub(crate) fn scope(&self) -> &ActivityScope {
        &self.subscriber.scope
    }

    /// Waits for the next report about the scope. A report since the last call counts.
    pub(crate) async fn changed(&mut self) -> Edges {
        // The sender lives in `self.subscriber`, so the channel cannot close.
        let _ = self.changes.changed().await;
        *self.changes.borrow_and_update()
    }
}

impl Measure {
    /// Whether it is about the scaling of the interceptors themselves.
    pub(crate) fn scales_interceptors(&self) -> bool {
        matches!(self, Self::TotalConcurrency)
    }
}

impl ActivityScope {
    /// Whether it is about the scaling of the interceptors themselves.
    pub(crate) fn scales_interceptors(&self) -> bool {
        matches!(self, Self::Everything)
    }

    fn is_active(&self, demand: &Demand, now: Duration) -> Reading<bool> {
        match self {
            Self::Target { key, window } => demand.is_active(key, *window, now),
            Self::Everything => demand.is_anything_pending(now),
        }
    }
}

impl Subscriber {
    fn is_active(&self, demand: &Demand, now: Duration) -> bool {
        self.scope.is_active(demand, now) == Reading::Known(true)
    }

    fn notify(&self, rising: bool, at: Instant) {
        self.edges.send_modify(|edges| {
            if rising {
                *edges = Edges {
                    count: edges.count + 1,
                    at,
                };
            }
        });
    }
}

impl DemandState {
    fn subscribe(&mut self, subscriber: &Arc<Subscriber>) {
        let subscribers = match &subscriber.scope {
            ActivityScope::Target { key, .. } => self.targets.entry(key.clone()).or_default(),
            ActivityScope::Everything => &mut self.everything,
        };
        subscribers.retain(|other| other.strong_count() > 0);
        subscribers.push(Arc::downgrade(subscriber));
    }

    fn subscribers_of(&self, report: &Report) -> Vec<Arc<Subscriber>> {
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
        self.targets.retain(|_, subscribers| {
            subscribers.retain(|subscriber| subscriber.strong_count() > 0);
            !subscribers.is_empty()
        });
    }
}

#[cfg(test)]
mod tests;
