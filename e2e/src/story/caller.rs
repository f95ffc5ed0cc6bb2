//! Requests, one or many at a constant rate, and what became of them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use parking_lot::Mutex;
use reqwest::header::HeaderMap;
use reqwest::{Client, RequestBuilder};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long an answer may take in a story that says nothing else.
const PATIENCE: Duration = Duration::from_secs(240);

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body as text.
    pub body: String,
    /// From the request to the end of the body.
    pub took: Duration,
}

impl Answer {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The pod that has answered, as the demo server names it.
    pub fn pod(&self) -> &str {
        self.header("x-pod").unwrap_or_default()
    }

    /// Fails unless the status is `status`.
    ///
    /// # Errors
    /// With the whole answer.
    pub fn expect(self, status: u16) -> Result<Self> {
        ensure!(self.status == status, "{status} expected, not {self:?}");
        Ok(self)
    }
}

/// A client for HTTP/1.1 as most are: connections are kept, and a request that was never read from a connection is sent
/// again by another one.
///
/// # Errors
/// When it cannot be made.
pub fn client() -> Result<Client> {
    Ok(Client::builder().no_proxy().timeout(PATIENCE).build()?)
}

/// Sends a request and reads its answer.
///
/// # Errors
/// When there is none.
pub async fn send(request: RequestBuilder) -> Result<Answer> {
    let started = Instant::now();
    let response = request.send().await.context("no answer")?;
    Ok(Answer {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        body: response.text().await.context("half an answer")?,
        took: started.elapsed(),
    })
}

/// `GET` at `url`, for `host`.
///
/// # Errors
/// When there is no answer.
pub async fn get(url: &str, host: &str) -> Result<Answer> {
    send(client()?.get(url).header("host", host)).await
}

/// What became of many requests.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// How many were answered 200.
    pub answered: u64,
    /// The others, by what they got.
    pub failed: BTreeMap<String, u64>,
    /// The longest that one took.
    pub slowest: Duration,
    /// When the first and the last of those that failed did.
    failing: Option<(Instant, Instant)>,
}

impl Tally {
    /// How many were not answered 200.
    pub fn failures(&self) -> u64 {
        self.failed.values().sum()
    }

    /// Fails unless all were answered 200.
    ///
    /// # Errors
    /// With what the others got.
    pub fn expect_all(&self) -> Result<()> {
        ensure!(self.failures() == 0 && self.answered > 0, "{self}");
        Ok(())
    }

    /// From the first failure to the last one.
    pub fn failing(&self) -> Duration {
        self.failing.map_or(Duration::ZERO, |(first, last)| last - first)
    }

    fn count(&mut self, answer: Result<Answer>) {
        let got = match answer {
            Ok(answer) if answer.status == 200 => {
                self.answered += 1;
                self.slowest = self.slowest.max(answer.took);
                return;
            }
            Ok(answer) => format!("{} {}", answer.status, answer.body.trim()),
            Err(error) => innermost(&error),
        };
        *self.failed.entry(got).or_default() += 1;
        let now = Instant::now();
        self.failing = Some((self.failing.map_or(now, |(first, _)| first), now));
    }
}

/// Without the address of each request, so that failures of one kind are counted together.
fn innermost(error: &anyhow::Error) -> String {
    error.chain().last().map(ToString::to_string).unwrap_or_default()
}

impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (all, failed) = (self.answered + self.failures(), self.failures());
        write!(
            formatter,
            "{failed} of {all} requests failed, slowest {:.1} s",
            self.slowest.as_secs_f64()
        )?;
        self.failed
            .iter()
            .try_for_each(|(what, count)| write!(formatter, "; {count} x {what}"))
    }
}

/// `count` requests at once.
///
/// # Errors
/// When no client can be made.
pub fn herd(count: usize, url: &str, host: &str) -> Result<JoinHandle<Tally>> {
    let client = client()?;
    let (url, host) = (url.to_owned(), host.to_owned());
    Ok(tokio::spawn(async move {
        let requests = (0..count).map(|_| send(client.get(&url).header("host", &host)));
        let mut tally = Tally::default();
        futures_util::future::join_all(requests)
            .await
            .into_iter()
            .for_each(|answer| tally.count(answer));
        tally
    }))
}

/// Requests at a constant rate, whatever becomes of those before, until it is stopped.
pub struct Load {
    stop: CancellationToken,
    sending: JoinHandle<()>,
    tally: Arc<Mutex<Tally>>,
}

impl Load {
    /// Begins.
    ///
    /// # Errors
    /// When no client can be made.
    pub fn start(per_second: u32, url: &str, host: &str) -> Result<Self> {
        let client = client()?;
        let (url, host) = (url.to_owned(), host.to_owned());
        let (stop, tally) = (CancellationToken::new(), Arc::new(Mutex::new(Tally::default())));
        let (stopped, counts) = (stop.clone(), tally.clone());
        let sending = tokio::spawn(async move {
            let requests = TaskTracker::new();
            let mut due = tokio::time::interval(Duration::from_secs(1) / per_second);
            due.set_missed_tick_behavior(MissedTickBehavior::Burst);
            while stopped.run_until_cancelled(due.tick()).await.is_some() {
                let (request, counts) = (client.get(&url).header("host", &host), counts.clone());
                requests.spawn(async move {
                    let answer = send(request).await;
                    counts.lock().count(answer);
                });
            }
            requests.close();
            requests.wait().await;
        });
        Ok(Self { stop, sending, tally })
    }

    /// What has become of those that have ended.
    pub fn so_far(&self) -> Tally {
        self.tally.lock().clone()
    }

    /// Sends no more, and waits for those that are under way.
    ///
    /// # Errors
    /// When the task has failed.
    pub async fn stop(self) -> Result<Tally> {
        self.stop.cancel();
        self.sending.await?;
        let tally = self.tally.lock().clone();
        Ok(tally)
    }
}
