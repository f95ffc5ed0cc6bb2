//! What is at the bottom of an error.

use std::error::Error;

/// "connection refused" instead of "transport error".
pub fn innermost(error: &dyn Error) -> String {
    match error.source() {
        Some(source) => innermost(source),
        None => error.to_string(),
    }
}
