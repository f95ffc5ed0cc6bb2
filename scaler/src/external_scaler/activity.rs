//! `StreamIsActive`: `true` on open when active, at once on every rising edge, and again while requests wait in vain.

use std::time::Duration;

use futures_util::{Stream, stream};
use keda_http_core::demand::Reading;
use keda_http_proto::externalscaler::{IsActiveResponse, ScaledObjectRef};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::demand::{Edges, SharedDemand, Watcher};
use crate::external_scaler::Service;
use crate::external_scaler::subject::{Subject, SubjectError};
use crate::metrics::{Metrics, OpenStream, StreamKind};
use crate::objects::Objects;

/// KEDA can drop a signal, for instance while the HPA is not made yet. As long as requests wait without an endpoint it is told again.
const REPEAT_EVERY: Duration = Duration::from_secs(2);

/// One open stream.
pub struct ActivityStream {
    call: ScaledObjectRef,
    demand: SharedDemand,
    objects: Objects,
    object_changes: watch::Receiver<()>,
    watcher: Watcher,
    risen: u64,
    /// Since when a `true` is owed.
    owed: Option<Instant>,
    /// When the last `true` was handed over.
    told: Option<Instant>,
    shutdown: CancellationToken,
    metrics: Metrics,
    _open: OpenStream,
}

impl ActivityStream {
    /// Subscribes to what the call is about. With no data the stream is silent until there is some.
    ///
    /// # Errors
    /// When the call has no subject.
    pub fn open(call: ScaledObjectRef, service: &Service) -> Result<Self, SubjectError> {
        let object_changes = service.objects.changes();
        let subject = Subject::of(&call, &service.objects)?;
        let (watcher, active) = service.demand.watch(subject.scope);
        Ok(Self {
            call,
            demand: service.demand.clone(),
            objects: service.objects.clone(),
            object_changes,
            watcher,
            risen: 0,
            owed: owed_at_once(&active),
            told: None,
            shutdown: service.shutdown.clone(),
            metrics: service.metrics.clone(),
            _open: service.metrics.stream_opened(StreamKind::StreamIsActive),
        })
    }

    /// The messages. They end, with OK, on shutdown: that is what resets KEDA's reconnect delay.
    pub fn messages(self) -> impl Stream<Item = Result<IsActiveResponse, Status>> {
        stream::unfold(self, async |mut this| {
            this.next_signal().await?;
            Some((Ok(IsActiveResponse { result: true }), this))
        })
    }

    async fn next_signal(&mut self) -> Option<()> {
        loop {
            if let Some(since) = self.owed.take() {
                self.told = Some(Instant::now());
                self.metrics.signalled(since.elapsed());
                return Some(());
            }
            let repeat = self.repeat_at();
            tokio::select! {
                () = self.shutdown.cancelled() => return None,
                edges = self.watcher.changed() => self.notice(edges),
                () = sleep_until(repeat.unwrap_or_else(Instant::now)), if repeat.is_some() => self.owed = repeat,
                Ok(()) = self.object_changes.changed() => self.watch_again(),
            }
        }
    }

    fn notice(&mut self, edges: Edges) {
        if edges.risen != self.risen {
            self.risen = edges.risen;
            self.owed = Some(edges.at);
        }
    }

    /// When to tell again: only while somebody waits, and not before the last time is [`REPEAT_EVERY`] ago.
    fn repeat_at(&self) -> Option<Instant> {
        let waits = self.demand.anybody_waits(self.watcher.scope());
        waits.then(|| self.told.map_or_else(Instant::now, |told| told + REPEAT_EVERY))
    }

    /// The object of the call has changed: with another window another edge counts. While it is gone the last one counts.
    fn watch_again(&mut self) {
        let Ok(subject) = Subject::of(&self.call, &self.objects) else {
            return;
        };
        if subject.scope != *self.watcher.scope() {
            let (watcher, active) = self.demand.watch(subject.scope);
            self.watcher = watcher;
            self.risen = 0;
            self.owed = owed_at_once(&active);
        }
    }
}

fn owed_at_once(active: &Reading<bool>) -> Option<Instant> {
    (*active == Reading::Known(true)).then(Instant::now)
}

#[cfg(test)]
mod tests;
