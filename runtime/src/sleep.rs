//! Waiting for a deadline that there may be.

use tokio::time::Instant;

/// Sleeps until the deadline; without one it never returns, so that it can stand in a `select!`.
pub async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
