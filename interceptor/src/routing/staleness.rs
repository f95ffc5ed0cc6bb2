//! What is reported, and done, while the source is not available: everything continues with the last known state.

use std::convert::Infallible;
use std::time::{Duration, SystemTime};

use keda_http_kubernetes::source::Freshness;
use keda_http_runtime::readiness::{PendingTask, Readiness};
use tokio::sync::watch;
use tokio::time::Instant;

/// What `/readyz` lists under problems, and under what is pending.
const NAME: &str = "source";

/// Watches how old routes and endpoints are.
pub struct Staleness {
    /// How old the source's state is.
    pub freshness: watch::Receiver<Freshness>,
    /// From what age on the process is not ready; `None`: it stays ready.
    pub limit: Option<Duration>,
    /// Where it is reported.
    pub readiness: Readiness,
}

impl Staleness {
    /// Runs until the process ends: the age of a directory never changes, and a source that ends ends the process.
    pub async fn watch(mut self) -> Infallible {
        let mut too_old = None;
        loop {
            let now = *self.freshness.borrow_and_update();
            self.readiness
                .set_problems(NAME, (!now.current).then(|| problem(now)).into_iter().collect());
            let too_old_at = self.limit.filter(|_| !now.current).map(|limit| now.since + limit);
            if too_old_at.is_none_or(|at| Instant::now() < at) {
                too_old = None;
            }
            let get_too_old = async {
                match too_old_at {
                    Some(at) if too_old.is_none() => tokio::time::sleep_until(at).await,
                    Some(_) | None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = self.freshness.changed() => if changed.is_err() { std::future::pending::<()>().await },
                () = get_too_old => too_old = Some(self.unready()),
            }
        }
    }

    /// Not ready until the token is dropped.
    fn unready(&self) -> PendingTask {
        tracing::warn!(limit = ?self.limit, "not ready: routes and endpoints are too old");
        self.readiness.register(NAME)
    }
}

fn problem(freshness: Freshness) -> String {
    let since = SystemTime::now() - freshness.age();
    let since = jiff::Timestamp::try_from(since).unwrap_or_default();
    format!("no response from the API server since {since:.0}; routes and endpoints are as they were then")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    struct Fixture {
        freshness: watch::Sender<Freshness>,
        readiness: Readiness,
    }

    impl Fixture {
        fn new(limit: Option<Duration>) -> Self {
            let freshness = watch::Sender::new(Freshness {
                current: true,
                since: Instant::now(),
            });
            let readiness = Readiness::new();
            let staleness = Staleness {
                freshness: freshness.subscribe(),
                limit,
                readiness: readiness.clone(),
            };
            tokio::spawn(staleness.watch());
            Self { freshness, readiness }
        }

        async fn set_current(&self, current: bool) {
            let since = Instant::now();
            self.freshness.send_replace(Freshness { current, since });
            tokio::time::advance(Duration::from_millis(1)).await;
        }

        async fn pass(&self, time: Duration) -> bool {
            tokio::time::advance(time).await;
            tokio::task::yield_now().await;
            self.readiness.report().ready
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_it_stays_ready_and_says_how_old_things_are() {
        let fixture = Fixture::new(None);
        fixture.set_current(false).await;
        assert!(fixture.pass(LIMIT * 100).await);
        let problems = &fixture.readiness.report().problems["source"];
        assert!(
            problems[0].contains("no response from the API server since 2"),
            "{problems:?}"
        );
        assert!(fixture.freshness.borrow().age() >= LIMIT * 100);
        fixture.set_current(true).await;
        tokio::task::yield_now().await;
        assert!(fixture.readiness.report().problems.is_empty());
        assert_eq!(fixture.freshness.borrow().age(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn beyond_the_limit_it_is_not_ready_until_the_source_is_back() {
        let fixture = Fixture::new(Some(LIMIT));
        fixture.set_current(false).await;
        assert!(fixture.pass(LIMIT - Duration::from_secs(1)).await);
        assert!(!fixture.pass(Duration::from_secs(2)).await);
        assert_eq!(fixture.readiness.report().pending, ["source"]);
        fixture.set_current(true).await;
        assert!(fixture.pass(LIMIT * 2).await);
        // The next outage counts from its own beginning.
        fixture.set_current(false).await;
        assert!(fixture.pass(LIMIT / 2).await);
    }
}
