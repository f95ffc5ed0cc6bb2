//! Serves the counters: the gRPC stream of `pending.proto`, fed by one task.
//!
//! An edge is a change that is reported at once: the first arrival after a silence, or the first held request. A target
//! is active from an edge until nothing has happened to it for one interval, and is read once per interval meanwhile.
//! When no target is active, the task sleeps.

mod history;

use std::collections::{BTreeSet, HashMap};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use keda_http_core::target::TargetKey;
use keda_http_proto::pending::pending_requests_server::{PendingRequests as PendingService, PendingRequestsServer};
use keda_http_proto::pending::{Listeners, Report, Target as TargetReport, WatchRequest};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;
use tonic::{Request, Response, Status};

use crate::counters::pending::{Counts, PendingRequests, Quiet, Target, nanos};
use history::History;

/// The ports of autowired Services that are open.
pub(crate) type OpenPorts = BTreeSet<u16>;

/// How long changes that are not edges are collected before they are reported.
const INTERVAL: Duration = Duration::from_millis(200);
/// Reports that a slow subscriber may be behind before its stream ends; the next one begins with a complete report.
const BACKLOG: usize = 256;

/// Gives out streams of reports. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Reports {
    subscribe: mpsc::Sender<oneshot::Sender<Subscription>>,
}

/// The complete state, and everything after it.
struct Subscription {
    complete: Report,
    changes: broadcast::Receiver<Arc<Report>>,
}

/// The task that makes the reports.
pub(crate) struct Reporter {
    pending: PendingRequests,
    boot_id: String,
    targets: HashMap<TargetKey, Reported>,
    /// The targets that are not quiet.
    active: Vec<Arc<Target>>,
    /// The ports on which traffic of autowired Services is taken.
    listeners: watch::Receiver<OpenPorts>,
    subscriptions: mpsc::Receiver<oneshot::Sender<Subscription>>,
    changes: broadcast::Sender<Arc<Report>>,
}

/// What was last reported of a target.
#[derive(Default)]
struct Reported {
    counts: Counts,
    at: Duration,
    history: History,
}

/// A reporter, and the handle that gives out its reports.
pub(crate) fn reporter(pending: PendingRequests, listeners: watch::Receiver<OpenPorts>) -> (Reporter, Reports) {
    let (subscribe, subscriptions) = mpsc::channel(16);
    let (changes, _) = broadcast::channel(BACKLOG);
    let reporter = Reporter {
        pending,
        boot_id: boot_id(),
        targets: HashMap::new(),
        active: Vec::new(),
        listeners,
        subscriptions,
        changes,
    };
    (reporter, Reports { subscribe })
}

/// An identifier that differs for each start of the process.
fn boot_id() -> String {
    use std::hash::{BuildHasher, RandomState};
    let started = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    format!(
        "{:016x}-{:x}",
        RandomState::new().hash_one(std::process::id()),
        started.as_nanos()
    )
}

impl Reporter {
    /// Reports until all [`Reports`] handles are gone.
    pub(crate) async fn run(mut self) {
        let mut next = tokio::time::Instant::now();
        loop {
            let pending = self.pending.clone();
            tokio::select! {
                edges = pending.edges() => {
                    if self.active.is_empty() {
                        next = tokio::time::Instant::now() + INTERVAL;
                    }
                    self.report_edges(edges);
                }
                () = tokio::time::sleep_until(next), if !self.active.is_empty() => {
                    next = tokio::time::Instant::now() + INTERVAL;
                    self.report_active();
                }
                Ok(()) = self.listeners.changed() => self.report_listeners(),
                subscriber = self.subscriptions.recv() => match subscriber {
                    Some(subscriber) => self.welcome(subscriber),
                    None => return,
                },
            }
        }
    }

    fn open_listeners(&self) -> Listeners {
        let ports = self.listeners.borrow().iter().copied().map(u32::from).collect();
        Listeners { ports }
    }

    /// Sent at once: a Service is not pointed at this interceptor before the scaler knows its ports.
    fn report_listeners(&mut self) {
        self.listeners.mark_unchanged();
        let report = Report {
            boot_id: self.boot_id.clone(),
            uptime_nanos: nanos(self.pending.uptime()),
            complete: false,
            targets: Vec::new(),
            removed: Vec::new(),
            listeners: Some(self.open_listeners()),
        };
        // Without a subscriber nothing is lost: its first report is complete.
        let _ = self.changes.send(Arc::new(report));
    }

    /// Sent at once, with only the targets that had an edge.
    fn report_edges(&mut self, edges: Vec<Arc<Target>>) {
        let now = self.pending.uptime();
        let mut changed = Vec::new();
        for target in edges {
            if !self.active.iter().any(|other| Arc::ptr_eq(other, &target)) {
                self.active.push(target.clone());
            }
            changed.extend(self.read_target(&target, now));
        }
        let keys: Vec<TargetKey> = changed.iter().map(|target| target.key.as_str().into()).collect();
        if self.send(now, changed, Vec::new()) {
            self.mark_signalled(&keys);
        }
    }

    /// Only after an edge: a later report of the same wait has nothing new for scalers.
    fn mark_signalled(&self, keys: &[TargetKey]) {
        let now = self.pending.uptime();
        keys.iter()
            .filter_map(|key| self.pending.existing(key))
            .for_each(|target| target.mark_signalled(now));
    }

    /// Reports all active targets, and removes those that have become quiet.
    fn report_active(&mut self) {
        let now = self.pending.uptime();
        let (mut changed, mut removed) = (Vec::new(), Vec::new());
        for target in std::mem::take(&mut self.active) {
            let report = self.read_target(&target, now);
            let seen = target.counts(now);
            let starts = seen.starting && !target.is_retired();
            let idle = report.is_none() && seen.pending == 0 && !starts;
            changed.extend(report);
            if idle && target.is_retired() && self.pending.remove_retired(&target) {
                self.targets.remove(&target.key);
                removed.push(target.key.as_str().to_owned());
            } else if !idle || target.is_retired() || target.try_quiet(seen) == Quiet::No {
                self.active.push(target);
            }
        }
        self.send(now, changed, removed);
    }

    /// Reads a target; `None` when it has not changed since it was last reported.
    fn read_target(&mut self, target: &Target, now: Duration) -> Option<TargetReport> {
        let reported = self.targets.entry(target.key.clone()).or_default();
        let counts = reported.whole(target.counts(now), now);
        let news = counts.arrivals - reported.counts.arrivals;
        reported.history.record(now, news, target.window_secs());
        let same = news == 0
            && counts.pending == reported.counts.pending
            && counts.waiting == reported.counts.waiting
            && counts.starting == reported.counts.starting;
        // The scaler extrapolates the integral from what is pending; another value means that requests came and went.
        let unchanged = same && counts.pending_nanos == Some(reported.extrapolated(now));
        (reported.counts, reported.at) = (counts, now);
        (!unchanged).then(|| report_of(&target.key, counts, Vec::new()))
    }

    /// `true` when somebody listens.
    fn send(&self, now: Duration, targets: Vec<TargetReport>, removed: Vec<String>) -> bool {
        if targets.is_empty() && removed.is_empty() {
            return false;
        }
        let report = Report {
            boot_id: self.boot_id.clone(),
            uptime_nanos: nanos(now),
            complete: false,
            targets,
            removed,
            listeners: None,
        };
        self.changes.send(Arc::new(report)).is_ok()
    }

    /// The complete report for a new subscriber, with the arrivals of the last seconds.
    fn welcome(&mut self, subscriber: oneshot::Sender<Subscription>) {
        let now = self.pending.uptime();
        let targets = self.pending.targets();
        let complete = Report {
            boot_id: self.boot_id.clone(),
            uptime_nanos: nanos(now),
            complete: true,
            targets: targets.iter().map(|target| self.complete(target, now)).collect(),
            removed: Vec::new(),
            listeners: Some(self.open_listeners()),
        };
        let changes = self.changes.subscribe();
        if subscriber.send(Subscription { complete, changes }).is_ok() {
            targets
                .iter()
                .filter(|target| target.counts(now).waiting > 0)
                .for_each(|target| target.mark_signalled(now));
        }
    }

    fn complete(&mut self, target: &Target, now: Duration) -> TargetReport {
        let Some(reported) = self.targets.get_mut(&target.key) else {
            return report_of(&target.key, target.counts(now), Vec::new());
        };
        let counts = reported.whole(target.counts(now), now);
        let news = counts.arrivals - reported.counts.arrivals;
        let recent = reported.history.recent(now, news, target.window_secs());
        report_of(&target.key, counts, recent)
    }
}

impl Reported {
    /// Replaces an integral that could not be read by one that is extrapolated. Arrivals never decrease.
    fn whole(&self, mut counts: Counts, now: Duration) -> Counts {
        counts.arrivals = counts.arrivals.max(self.counts.arrivals);
        counts.pending_nanos = Some(counts.pending_nanos.unwrap_or_else(|| self.extrapolated(now)));
        counts
    }

    /// The integral at `now` if nothing has changed since the last report.
    fn extrapolated(&self, now: Duration) -> u64 {
        let since = nanos(now.saturating_sub(self.at));
        let last = self.counts.pending_nanos.unwrap_or_default();
        last.wrapping_add(self.counts.pending.wrapping_mul(since))
    }
}

fn report_of(key: &TargetKey, counts: Counts, recent_arrivals: Vec<u32>) -> TargetReport {
    TargetReport {
        key: key.as_str().to_owned(),
        arrivals: counts.arrivals,
        pending: counts.pending,
        waiting: counts.waiting,
        pending_nanos: counts.pending_nanos.unwrap_or_default(),
        recent_arrivals,
        starting: counts.starting,
    }
}

impl Reports {
    /// The gRPC service.
    pub(crate) fn service(self) -> PendingRequestsServer<Self> {
        PendingRequestsServer::new(self)
    }

    async fn subscription(&self) -> Option<Subscription> {
        let (subscriber, subscription) = oneshot::channel();
        self.subscribe.send(subscriber).await.ok()?;
        subscription.await.ok()
    }

    /// Changes after a complete report; ends when the subscriber has fallen too far behind.
    fn stream(subscription: Subscription) -> impl Stream<Item = Result<Report, BroadcastStreamRecvError>> {
        let Subscription { complete, changes } = subscription;
        let changes = BroadcastStream::new(changes).map(|change| change.map(|report| Report::clone(&report)));
        futures_util::stream::once(std::future::ready(Ok(complete))).chain(changes)
    }
}

#[tonic::async_trait]
impl PendingService for Reports {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<Report, Status>> + Send>>;

    async fn watch(&self, _: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let subscription = self
            .subscription()
            .await
            .ok_or_else(|| Status::unavailable("the interceptor is shutting down"))?;
        let reports = Self::stream(subscription);
        // A subscriber that fell behind starts over with a complete report on its next stream.
        let reports =
            reports.map(|report| report.map_err(|_| Status::data_loss("too slow for the reports; watch again")));
        Ok(Response::new(Box::pin(reports)))
    }
}

#[cfg(test)]
mod tests;
