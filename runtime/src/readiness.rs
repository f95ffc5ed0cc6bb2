//! Readiness is a held token: a task becomes ready by finishing its job, not by remembering to say so.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::watch;

/// What must be done before the process is ready, and what degrades it. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Published whenever `state` changes it; sent under the lock, so that the order is that of the changes.
    ready: watch::Sender<bool>,
    /// Beside the lock, because every request asks.
    draining: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    /// By the order of registration; two tasks may have one name.
    pending: BTreeMap<u64, String>,
    registered: u64,
    draining: bool,
    problems: BTreeMap<String, Vec<String>>,
}

impl State {
    fn ready(&self) -> bool {
        self.pending.is_empty() && !self.draining
    }
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            ready: watch::Sender::new(true),
            draining: AtomicBool::new(false),
        }
    }
}

impl Shared {
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock();
        let result = change(&mut state);
        let now = state.ready();
        self.ready
            .send_if_modified(|ready| std::mem::replace(ready, now) != now);
        result
    }
}

/// A task that is not done yet; dropping it is the announcement that it is.
#[derive(Debug)]
#[must_use = "dropping it says that the task is done"]
pub struct PendingTask {
    shared: Arc<Shared>,
    number: u64,
}

impl Drop for PendingTask {
    fn drop(&mut self) {
        self.shared.change(|state| state.pending.remove(&self.number));
    }
}

/// What `/readyz` reports.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ReadinessReport {
    /// Whether the process can do its work: nothing pending and not draining.
    pub ready: bool,
    /// The tasks that are not done.
    pub pending: Vec<String>,
    /// Whether the process is shutting down.
    pub draining: bool,
    /// What does not work as it should, without making the process unready (bad files, lost peers), by name.
    pub problems: BTreeMap<String, Vec<String>>,
}

impl Readiness {
    /// Nothing pending.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a task by name; the process is not ready until the token is dropped.
    pub fn register(&self, name: &str) -> PendingTask {
        let number = self.shared.change(|state| {
            state.registered += 1;
            state.pending.insert(state.registered, name.to_owned());
            state.registered
        });
        PendingTask {
            shared: self.shared.clone(),
            number,
        }
    }

    /// From now on the process is not ready because it shuts down.
    pub fn drain(&self) {
        self.shared.draining.store(true, Ordering::Relaxed);
        self.shared.change(|state| state.draining = true);
    }

    /// Whether [`Readiness::drain`] was called. One relaxed load.
    pub fn is_draining(&self) -> bool {
        self.shared.draining.load(Ordering::Relaxed)
    }

    /// Replaces the problems of `name`; an empty list removes it. Does not change readiness.
    pub fn set_problems(&self, name: &str, problems: Vec<String>) {
        let mut state = self.shared.state.lock();
        if problems.is_empty() {
            state.problems.remove(name);
        } else {
            state.problems.insert(name.to_owned(), problems);
        }
    }

    /// The current state.
    pub fn report(&self) -> ReadinessReport {
        let state = self.shared.state.lock();
        ReadinessReport {
            ready: state.ready(),
            pending: state.pending.values().cloned().collect(),
            draining: state.draining,
            problems: state.problems.clone(),
        }
    }

    /// Waits until the process is ready (or returns at once).
    pub async fn ready(&self) {
        // The sender lives in `self`, so the wait cannot fail.
        let _ = self.subscribe().wait_for(|ready| *ready).await;
    }

    /// Waits for the readiness to change from what it is now, and says what it is then. Who must see every
    /// state in turn takes [`Readiness::subscribe`] instead: between two calls of this one, changes go unseen.
    pub async fn changed(&self) -> bool {
        let mut ready = self.subscribe();
        let before = *ready.borrow_and_update();
        ready.wait_for(|now| *now != before).await.map_or(before, |now| *now)
    }

    /// The readiness as a value to watch.
    pub fn subscribe(&self) -> watch::Receiver<bool> {
        self.shared.ready.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn in_time<T>(future: impl Future<Output = T>) -> T {
        let limit = std::time::Duration::from_secs(20);
        tokio::time::timeout(limit, future).await.unwrap()
    }

    #[test]
    fn a_process_without_tasks_is_ready() {
        let report = Readiness::new().report();
        assert!(report.ready && report.pending.is_empty() && !report.draining);
    }

    #[test]
    fn ready_when_the_last_task_is_done() {
        let readiness = Readiness::new();
        let (routes, again, endpoints) = (
            readiness.register("routes"),
            readiness.register("routes"),
            readiness.register("endpoints"),
        );
        assert_eq!(readiness.report().pending, ["routes", "routes", "endpoints"]);
        drop(routes);
        assert_eq!(readiness.report().pending, ["routes", "endpoints"]);
        drop(endpoints);
        assert!(!readiness.report().ready);
        drop(again);
        assert!(readiness.report().ready);
    }

    #[test]
    fn draining_ends_readiness_for_good() {
        let readiness = Readiness::new();
        assert!(!readiness.is_draining());
        readiness.clone().drain();
        assert!(readiness.is_draining());
        drop(readiness.register("late"));
        assert!(!readiness.report().ready);
        assert!(readiness.report().draining);
    }

    #[test]
    fn problems_are_reported_without_ending_readiness() {
        let readiness = Readiness::new();
        readiness.set_problems("files", vec!["a.yaml: no kind".to_owned()]);
        let report = readiness.report();
        assert!(report.ready);
        assert_eq!(report.problems["files"], ["a.yaml: no kind"]);
        readiness.set_problems("files", Vec::new());
        assert!(readiness.report().problems.is_empty());
    }

    #[tokio::test]
    async fn waiting_ends_when_the_task_does() {
        let readiness = Readiness::new();
        let task = readiness.register("routes");
        let waiting = tokio::spawn({
            let readiness = readiness.clone();
            async move { readiness.ready().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(task);
        in_time(waiting).await.unwrap();
        in_time(readiness.ready()).await;
    }

    #[tokio::test]
    async fn a_change_is_announced_in_both_directions() {
        let readiness = Readiness::new();
        let task = readiness.register("routes");
        let (now, ()) = tokio::join!(in_time(readiness.changed()), async { drop(task) });
        assert!(now);
        let (now, ()) = tokio::join!(in_time(readiness.changed()), async { readiness.drain() });
        assert!(!now);
    }
}
