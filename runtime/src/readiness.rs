//! Readiness is a held token: a task becomes ready by finishing its job, not by remembering to say so.

/// What must be done before the process is ready, and what degrades it. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Readiness {}

/// A task that is not done yet; dropping it is the announcement that it is.
#[derive(Debug)]
#[must_use = "dropping it says that the task is done"]
pub struct PendingTask {}

/// What `/readyz` tells.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ReadinessReport {
    /// Whether the process can do its work: nothing pending and not draining.
    pub ready: bool,
    /// The tasks that are not done.
    pub pending: Vec<String>,
    /// Whether the process is shutting down.
    pub draining: bool,
    /// What does not work as it should, without making the process unready (bad files, lost peers), by name.
    pub problems: std::collections::BTreeMap<String, Vec<String>>,
}

impl Readiness {
    /// Nothing pending.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a task by name; the process is not ready until the token is dropped.
    pub fn register(&self, name: &str) -> PendingTask {
        let _ = name;
        todo!()
    }

    /// From now on the process is not ready because it shuts down.
    pub fn drain(&self) {
        todo!()
    }

    /// Whether [`Readiness::drain`] was called. One relaxed load.
    pub fn is_draining(&self) -> bool {
        todo!()
    }

    /// Replaces what is told under `name`; an empty list removes it. Does not change readiness.
    pub fn set_problems(&self, name: &str, problems: Vec<String>) {
        let _ = (name, problems);
        todo!()
    }

    /// What there is to tell now.
    pub fn report(&self) -> ReadinessReport {
        todo!()
    }

    /// Waits until the process is ready (or returns at once).
    pub async fn ready(&self) {
        todo!()
    }

    /// Waits for the readiness to change from what it is now, and says what it is then.
    pub async fn changed(&self) -> bool {
        todo!()
    }
}
