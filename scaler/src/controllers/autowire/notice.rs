//! What people are told of an object, as an Event on it.

use super::service::world::Owner;

/// What people are told of an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Notice {
    /// The object.
    pub about: Owner,
    /// Whether somebody has to do something.
    pub warning: bool,
    /// The reason, one word.
    pub reason: &'static str,
    /// What is so, and what to do.
    pub message: String,
}

impl Notice {
    /// Somebody has to do something.
    pub fn warning(about: &Owner, reason: &'static str, message: String) -> Self {
        Self {
            about: about.clone(),
            warning: true,
            reason,
            message,
        }
    }

    /// Just so that it is known.
    pub fn normal(about: &Owner, reason: &'static str, message: String) -> Self {
        Self {
            warning: false,
            ..Self::warning(about, reason, message)
        }
    }
}
