//! Waits for what a control plane does at its own pace.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout_at};

/// How often a condition is checked; more often would load the API server of somebody else.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often a condition is checked whose time is measured.
const MEASURE_EVERY: Duration = Duration::from_millis(20);

/// Checks `condition` until it returns a value, for at most `limit`, also when a check hangs.
///
/// # Errors
/// When the limit has passed; the message is `what`.
pub async fn until<T>(what: &str, limit: Duration, condition: impl AsyncFnMut() -> Option<T>) -> Result<T> {
    look(LOOK_EVERY, what, limit, condition).await
}

/// Like [`until`], but checks more often: for measuring when the condition becomes true, or where a check costs nothing.
///
/// # Errors
/// When the limit has passed; the message is `what`.
pub async fn until_measured<T>(what: &str, limit: Duration, condition: impl AsyncFnMut() -> Option<T>) -> Result<T> {
    look(MEASURE_EVERY, what, limit, condition).await
}

async fn look<T>(
    every: Duration,
    what: &str,
    limit: Duration,
    mut condition: impl AsyncFnMut() -> Option<T>,
) -> Result<T> {
    let now = Instant::now();
    let end = now + limit;
    let mut pace = interval_at(now + every, every);
    // After a look that took long the next one comes as late as any other.
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Boxed, because waits stand deep within stories, whose futures hold all that they await.
    while let Ok(looked) = timeout_at(end, Box::pin(condition())).await {
        if let Some(value) = looked {
            return Ok(value);
        }
        if timeout_at(end, pace.tick()).await.is_err() {
            break;
        }
    }
    Err(anyhow::anyhow!("{what}")).with_context(|| format!("not within {limit:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn the_first_look_is_at_once_and_the_others_follow_at_their_pace() {
        let started = Instant::now();
        assert_eq!(until("nothing", LIMIT, async || Some(1)).await.unwrap(), 1);
        assert_eq!(started.elapsed(), Duration::ZERO);
        let mut looks = 0;
        let third = async || {
            looks += 1;
            (looks == 3).then_some(())
        };
        until("nothing", LIMIT, third).await.unwrap();
        assert_eq!(started.elapsed(), LOOK_EVERY * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn the_limit_ends_a_look_that_hangs_too() {
        let never = async || None::<()>;
        let hangs = async || std::future::pending::<Option<()>>().await;
        for waited in [
            Box::pin(until("it is not so", LIMIT, never)) as std::pin::Pin<Box<dyn Future<Output = Result<()>>>>,
            Box::pin(until("it is not so", LIMIT, hangs)),
            Box::pin(until_measured("it is not so", LIMIT, hangs)),
        ] {
            let started = Instant::now();
            let error = waited.await.unwrap_err();
            assert_eq!(format!("{error:#}"), "not within 10s: it is not so");
            assert_eq!(started.elapsed(), LIMIT);
        }
    }
}
