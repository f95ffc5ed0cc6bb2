//! `StreamIsActive`: sends `true` on open when the scope is active, at once on every rising edge, and again as long as
//! requests wait without an endpoint.

use std::time::Duration;

use futures_util::{Stream, stream};
use keda_http_core::demand::Reading;
use keda_http_proto::externalscaler::{IsActiveResponse, ScaledObjectRef};
use keda_http_runtime::sleep;
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::Status;

use super::subject::{CallSubject, SubjectError};
use crate::demand::{Edges, SharedDemand, Watcher};
use crate::metrics::{Metrics, OpenStream};
use crate::objects::ScalingObjects;

/// KEDA can drop a signal, for instance while the HPA does not exist yet, so it is repeated as long as requests wait
/// without an endpoint.
const REPEAT_EVERY: Duration = Duration::from_secs(2);

pub(super) struct ActivityStream {
    call: ScaledObjectRef,
    demand: SharedDemand,
    objects: ScalingObjects,
    object_changes: watch::Receiver<()>,
    watcher: Watcher,
    edges_seen: u64,
    /// Since when a `true` is due.
    due: Option<Instant>,
    /// When the last `true` was sent.
    sent: Option<Instant>,
    metrics: Metrics,
    _open: OpenStream,
}

impl ActivityStream {
    /// Subscribes to the scope of the call. While there is no data the stream sends nothing.
    pub(super) fn open(
        call: ScaledObjectRef,
        demand: SharedDemand,
        objects: ScalingObjects,
        metrics: Metrics,
    ) -> Result<Self, SubjectError> {
        let object_changes = objects.changes();
        let subject = CallSubject::resolve(&call, &objects)?;
        let (watcher, active) = demand.watch(subject.scope);
        Ok(Self {
            call,
            demand,
            objects,
            object_changes,
            watcher,
            edges_seen: 0,
            due: due_now(&active),
            sent: None,
            _open: metrics.stream_opened("StreamIsActive"),
            metrics,
        })
    }

    pub(super) fn messages(self) -> impl Stream<Item = Result<IsActiveResponse, Status>> {
        stream::unfold(self, async |mut this| {
            this.next_signal().await;
            Some((Ok(IsActiveResponse { result: true }), this))
        })
    }

    async fn next_signal(&mut self) {
        loop {
            if let Some(since) = self.due.take() {
                self.sent = Some(Instant::now());
                self.metrics.signalled(since.elapsed());
                return;
            }
            let repeat = self.repeat_at();
            tokio::select! {
                edges = self.watcher.changed() => self.record_edges(edges),
                () = sleep::until(repeat) => self.due = repeat,
                Ok(()) = self.object_changes.changed() => self.resubscribe(),
            }
        }
    }

    fn record_edges(&mut self, edges: Edges) {
        if edges.count != self.edges_seen {
            self.edges_seen = edges.count;
            self.due = Some(edges.at);
        }
    }

    /// When to repeat the signal: only while requests wait, and [`REPEAT_EVERY`] after the last one.
    fn repeat_at(&self) -> Option<Instant> {
        let waiting = self.demand.has_waiting_requests(self.watcher.scope());
        waiting.then(|| self.sent.map_or_else(Instant::now, |sent| sent + REPEAT_EVERY))
    }

    /// A changed object may have another activity window, and with it other edges. While the object is missing the last
    /// known scope stays in force.
    fn resubscribe(&mut self) {
        let Ok(subject) = CallSubject::resolve(&self.call, &self.objects) else {
            return;
        };
        if subject.scope != *self.watcher.scope() {
            let (watcher, active) = self.demand.watch(subject.scope);
            self.watcher = watcher;
            self.edges_seen = 0;
            self.due = due_now(&active);
        }
    }
}

fn due_now(active: &Reading<bool>) -> Option<Instant> {
    (*active == Reading::Known(true)).then(Instant::now)
}

#[cfg(test)]
mod tests;
