//! The root cause of an error.

use std::error::Error;

/// The message of the last source of an error: "connection refused" instead of "transport error".
pub(crate) fn root_cause(error: &dyn Error) -> String {
    match error.source() {
        Some(source) => root_cause(source),
        None => error.to_string(),
    }
}
