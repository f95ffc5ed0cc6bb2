//! One watch: a list, and then what changes after it; and how it goes on when the API server does not respond.
//!
//! kube's own `watcher` is not used: it does not say when it is well again, waits for lists without a limit, and asks for
//! ever for a version that is answered with 410 at once.

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

/// What a watch reports.
#[derive(Debug)]
pub enum Report {
    /// A list starts: objects that are not in it do not exist any more.
    ListStarted,
    /// The object exists: it is new, has changed, or is as before.
    Present(Item),
    Deleted(ObjectId),
    ListComplete,
    /// The watch is established: changes are reported as they happen.
    Following,
    /// Nothing is reported until the next [`Report::Following`].
    Failing(Failure),
}

/// Sends reports, each with the number of its watch.
pub type ReportSender = mpsc::Sender<(u64, Report)>;

/// What all watches share.
#[derive(Clone)]
pub struct Access {
    pub client: kube::Client,
    pub pacing: Pacing,
    /// Limits how many requests are in flight.
    pub requests: Arc<Semaphore>,
    /// Where reports go.
    pub reports: ReportSender,
}

/// Why a step ended early.
enum Stop {
    ReceiverDropped,
    Failed(Failure),
}

impl<E: Into<Failure>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// A watch.
pub struct Watch {
    access: Access,
    number: u64,
    selection: Selection,
    /// What is known is the state of this version; `None` when a list is needed.
    version: Option<String>,
    /// Since something good was heard.
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

    /// Everything there is, page by page.
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

    /// What changes after the version, until the watch ends.
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
                Err(error) if error.is_eof() => return self.ended(began).await, // broken off within a line
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
                // Whatever it is, the same version would be answered with it again.
                self.version = None;
                Err((&*status).into())
            }
        }
    }

    /// The usual end of a watch. One that ends as soon as it has begun is not asked for again at once.
    async fn ended(&mut self, began: Instant) -> Result<(), Stop> {
        if began.elapsed() < self.access.pacing.longest_pause {
            self.pause().await;
        } else {
            self.failures = 0;
        }
        Ok(())
    }

    /// Reports the failure and waits for the next try.
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

    /// At once when the watch has only fallen behind; with pauses when the API server says so again and again.
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
