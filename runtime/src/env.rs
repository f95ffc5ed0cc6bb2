//! Settings from the environment, read through one lookup function, so that tests need no process environment.

use std::collections::BTreeMap;
use std::net::SocketAddr;

/// A variable that cannot be used. A start-up error: exit code 64.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvError {
    /// A required variable is absent or empty.
    #[error("{name} is not set; it must be {allowed}")]
    Missing {
        /// The variable.
        name: String,
        /// What it must be.
        allowed: String,
    },
    /// Its value cannot be used.
    #[error("{name}={value:?} cannot be used; it must be {allowed}")]
    Invalid {
        /// The variable.
        name: String,
        /// Its value.
        value: String,
        /// What it must be.
        allowed: String,
    },
}

/// The lookup function. An empty value counts as absent.
pub struct Environment {}

impl Environment {
    /// The environment of the process.
    pub fn process() -> Self {
        todo!()
    }

    /// A fixed environment, for tests and for programs that start others.
    pub fn of<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let _: BTreeMap<&str, &str> = variables.into_iter().collect();
        todo!()
    }

    /// The text of a variable, `None` when absent or empty.
    pub fn get(&self, name: &str) -> Option<String> {
        let _ = name;
        todo!()
    }

    /// A variable read by `parse`; `allowed` completes "it must be …".
    pub fn parsed<T, E>(&self, name: &str, allowed: &str, parse: impl FnOnce(&str) -> Result<T, E>) -> Result<Option<T>, EnvError> {
        let _ = (name, allowed, parse);
        todo!()
    }

    /// Go's booleans: 1, t, T, true, TRUE, True, 0, f, F, false, FALSE, False.
    pub fn boolean(&self, name: &str) -> Result<Option<bool>, EnvError> {
        let _ = name;
        todo!()
    }

    /// A port, 0 to 65535.
    pub fn port(&self, name: &str) -> Result<Option<u16>, EnvError> {
        let _ = name;
        todo!()
    }

    /// A whole number, not negative.
    pub fn number(&self, name: &str) -> Result<Option<u64>, EnvError> {
        let _ = name;
        todo!()
    }

    /// A comma list; white space around entries and empty entries are dropped.
    pub fn list(&self, name: &str) -> Vec<String> {
        let _ = name;
        todo!()
    }

    /// An IP address with a port.
    pub fn address(&self, name: &str) -> Result<Option<SocketAddr>, EnvError> {
        let _ = name;
        todo!()
    }
}
