//! Waiting for what a control plane does in its own time.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::Instant;

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Looks until `condition` gives a value, for at most `limit`.
///
/// # Errors
/// When the limit has passed; the message is `what`.
pub async fn until<T>(what: &str, limit: Duration, mut condition: impl AsyncFnMut() -> Option<T>) -> Result<T> {
    let end = Instant::now() + limit;
    let mut look = tokio::time::interval(LOOK_EVERY);
    loop {
        look.tick().await;
        if let Some(value) = condition().await {
            return Ok(value);
        }
        if Instant::now() > end {
            return Err(anyhow::anyhow!("{what}")).with_context(|| format!("not within {limit:?}"));
        }
    }
}
