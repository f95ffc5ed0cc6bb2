//! Why a field of an object is not valid.

use std::fmt::Display;

/// A field of an object that is not valid.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct FieldError {
    /// Where in the object, such as `spec.rules[0].hosts[1]` or `spec.triggers[0].metadata`.
    pub field: String,
    /// What is wrong and what is allowed.
    pub reason: String,
}

impl FieldError {
    /// An error of this field.
    pub fn new(field: impl Display, reason: impl Display) -> Self {
        Self {
            field: field.to_string(),
            reason: reason.to_string(),
        }
    }
}
