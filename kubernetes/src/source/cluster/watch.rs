//! One watch: a list, then the changes after it; and its retries when the API server does not respond.
//!
//! kube's own `watcher` is not used: it does not report when it works again, has no timeout for lists, and retries
//! forever with a version that is answered with 410 at once.

use std::pin::pin;
use std::sync::Arc;

use futures_util::{AsyncBufReadExt, StreamExt};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep, timeout};

use super::answer::{Event, Item, Page};
use super::failure::Failure;
use super::pacing::Pacing;
use super::selection::Selection;
use crate::object::ObjectId;

#[derive(Debug)]
pub enum Report {
    /// A list starts: objects that are not in it do not exist any more.
    ListStarted,
    /// The object is new, has changed, or is unchanged.
    Present(Item),
    Deleted(ObjectId),
    ListComplete,
    /// The watch is established: changes are reported as they happen.
    Following,
    /// Nothing is reported until the next [`Report::Following`].
    Failing(Failure),
}

pub type ReportSender = mpsc::Sender<(u64, Report)>;

#[derive(Clone)]
pub struct Access {
    pub client: kube::Client,
    pub pacing: Pacing,
    /// Limits how many requests are in flight.
    pub requests: Arc<Semaphore>,
    pub reports: ReportSender,
}

enum Stop {
    ReceiverDropped,
    Failed(Failure),
}

impl<E: Into<Failure>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

pub struct Watch {
    access: Access,
    number: u64,
    selection: Selection,
    /// The version of the known state; `None` when a list is needed.
    version: Option<String>,
    /// Failures since the last valid event.
    failures: u32,
}

impl Watch {
    pub fn new(access: Access, number: u64, selection: Selection) -> Self {
        Self {
            access,
            number,
            selection,
            version: None,
            failures: 0,
        }
    }

    /// Watches until the receiver of reports is dropped.
    pub async fn run(mut self) {
        loop {
            let step = match self.version.clone() {
                None => self.list().await,
                Some(version) => self.follow(&version).await,
            };
            let go_on = match step {
                Ok(()) => true,
                Err(Stop::ReceiverDropped) => false,
                Err(Stop::Failed(failure)) => self.recover(failure).await.is_ok(),
            };
            if !go_on {
                return;
            }
        }
    }

    async fn send(&self, report: Report) -> Result<(), Stop> {
        let sent = self.access.reports.send((self.number, report)).await;
        sent.map_err(|_| Stop::ReceiverDropped)
    }

    async fn list(&mut self) -> Result<(), Stop> {
        self.send(Report::ListStarted).await?;
        let mut token = None;
        loop {
            let text = self.page(token).await?;
            let page = Page::parse(&text)?;
            for item in page.items(self.selection.kind) {
                self.send(Report::Present(item?)).await?;
            }
            token = page.continue_token();
            if token.is_none() {
                self.version = Some(page.version().to_owned());
                return self.send(Report::ListComplete).await;
            }
        }
    }

    async fn page(&self, token: Option<String>) -> Result<String, Stop> {
        let request = self.selection.list(self.access.pacing.page, token)?;
        let _turn = self.access.requests.acquire().await;
        let asked = Instant::now();
        let answer = timeout(self.access.pacing.answer, self.access.client.request_text(request));
        Ok(answer.await.map_err(|_| Failure::silent(asked))??)
    }

    /// The changes after the version, until the watch ends.
    async fn follow(&mut self, version: &str) -> Result<(), Stop> {
        let Access { client, pacing, .. } = self.access.clone();
        let lasting = pacing.watch();
        let seconds = u32::try_from(lasting.as_secs()).unwrap_or(u32::MAX);
        let request = self.selection.watch(version, seconds)?;
        let began = Instant::now();
        let turn = self.access.requests.clone().acquire_owned().await;
        let lines = timeout(pacing.answer, client.request_stream(request)).await;
        drop(turn);
        let mut lines = pin!(lines.map_err(|_| Failure::silent(began))??.lines());
        self.send(Report::Following).await?;
        let mut heard = Instant::now();
        loop {
            let line = timeout(lasting + pacing.grace, lines.next()).await;
            let Some(line) = line.map_err(|_| Failure::silent(heard))? else {
                return self.ended(began).await;
            };
            heard = Instant::now();
            match Event::parse(self.selection.kind, &line?) {
                Ok(event) => self.handle(event).await?,
                Err(error) if error.is_eof() => return self.ended(began).await, // cut off within a line
                Err(error) => {
                    self.version = None; // the same line would come again from this version
                    return Err(error.into());
                }
            }
            self.failures = 0;
        }
    }

    async fn handle(&mut self, event: Event) -> Result<(), Stop> {
        match event {
            Event::Present(item) => {
                self.version = Some(item.version.clone());
                self.send(Report::Present(item)).await
            }
            Event::Deleted(id, version) => {
                self.version = Some(version);
                self.send(Report::Deleted(id)).await
            }
            Event::Bookmark(version) => {
                self.version = Some(version);
                Ok(())
            }
            Event::Error(status) => {
                // The same version would get the same error again.
                self.version = None;
                Err((&*status).into())
            }
        }
    }

    /// The usual end of a watch. One that ended as soon as it began is not restarted at once.
    async fn ended(&mut self, began: Instant) -> Result<(), Stop> {
        if began.elapsed() < self.access.pacing.longest_pause {
            self.pause().await;
        } else {
            self.failures = 0;
        }
        Ok(())
    }

    /// Reports the failure and waits for the next attempt.
    async fn recover(&mut self, failure: Failure) -> Result<(), Stop> {
        if failure.needs_list() {
            self.version = None;
        }
        if failure.is_gone() {
            return self.relist().await;
        }
        let refused = failure.is_refusal();
        self.send(Report::Failing(failure)).await?;
        if refused {
            sleep(self.access.pacing.after_refusal()).await;
        } else {
            self.pause().await;
        }
        Ok(())
    }

    /// Lists again: at once when the watch has only fallen behind, with pauses when that repeats.
    async fn relist(&mut self) -> Result<(), Stop> {
        if self.failures == 0 {
            self.failures = 1;
        } else {
            tracing::debug!(
                path = self.selection.path(),
                "the version of a list is too old to watch from"
            );
            self.pause().await;
        }
        Ok(())
    }

    async fn pause(&mut self) {
        self.failures = self.failures.saturating_add(1);
        sleep(self.access.pacing.after(self.failures)).await;
    }
}
