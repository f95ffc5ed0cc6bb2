//! One task per interceptor receives its reports: by the gRPC stream, or by polling an interceptor that has none.
//!
//! No task waits for another one, and no lock is held while waiting for an interceptor: one that hangs delays no other.
//! An interceptor that is no longer listed but still connected counts as long as it is connected, because it still
//! answers requests. New requests do not reach it, though, so a target that it does not report is not known to be idle.

mod report;

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use keda_http_core::demand::Report;
use keda_http_proto::pending::pending_requests_client::PendingRequestsClient;
use keda_http_proto::pending::{self, WatchRequest};
use keda_http_runtime::backoff::Backoff;
use keda_http_runtime::readiness::PendingTask;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};
use tracing::Instrument;

use crate::demand::SharedDemand;
use crate::host_port::HostPort;
use crate::interceptors::Interceptors;
use crate::interceptors::open_ports::OpenPorts;
use crate::interceptors::peers::{PeerState, Peers};
use crate::interceptors::queue::{self, CONNECT_TIMEOUT, MAX_REPORT_SIZE, QueueClient};
use crate::metrics::{Metrics, ReportKind};
use crate::root_cause::root_cause;

/// The first pause: reports of a restarted interceptor arrive again at once.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause before an interceptor that was away for long is connected again.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How long an interceptor may take from the connection to the first report.
const FIRST_REPORT_TIMEOUT: Duration = Duration::from_secs(3);
/// A stream has no messages while nothing changes; pings detect within five seconds that the interceptor is gone.
const PING_EVERY: Duration = Duration::from_secs(2);
const PING_TIMEOUT: Duration = Duration::from_secs(3);
/// How long an interceptor without the stream is polled before the stream is tried again, because it may be upgraded.
const RETRY_STREAM_AFTER: Duration = Duration::from_secs(10);

/// What all subscriptions share.
#[derive(Clone)]
pub struct Subscriptions {
    /// Receives the reports.
    pub demand: SharedDemand,
    /// Receives the connection states.
    pub peers: Peers,
    /// Receives the open ports of autowired Services.
    pub open_ports: OpenPorts,
    /// Counts reports and polls.
    pub metrics: Metrics,
    /// Polls interceptors without the stream.
    pub queue: QueueClient,
    /// How often those are polled.
    pub poll_every: Duration,
}

/// A task for each interceptor, which ends when the interceptor is neither listed nor connected.
struct SubscriptionTasks {
    shared: Subscriptions,
    /// Whether each of them is listed.
    listed: BTreeMap<HostPort, watch::Sender<bool>>,
    tasks: JoinSet<HostPort>,
}

struct InterceptorSubscription {
    shared: Subscriptions,
    interceptor: HostPort,
    listed: watch::Receiver<bool>,
    started: Instant,
    backoff: Backoff,
    /// Whether reports arrive, so that their loss is reported once.
    connected: bool,
}

/// Why a stream ended.
enum StreamEnd {
    /// The interceptor accepts connections, but there was no report.
    NotServed(String),
    /// The interceptor cannot be reached, or the connection was lost.
    Lost(String),
}

impl Subscriptions {
    /// Subscribes to all interceptors, and follows changes of their set until `shutdown`. `listed` is held until the
    /// set is known and has its subscriptions.
    ///
    /// # Errors
    /// When a subscription panicked.
    pub async fn run(
        self,
        mut interceptors: watch::Receiver<Interceptors>,
        listed: PendingTask,
        shutdown: CancellationToken,
    ) -> Result<(), JoinError> {
        let mut listed = Some(listed);
        let mut running = SubscriptionTasks {
            shared: self,
            listed: BTreeMap::new(),
            tasks: JoinSet::new(),
        };
        loop {
            let wanted = interceptors.borrow_and_update().clone();
            if let Some(wanted) = wanted {
                running.adjust(wanted);
                running.shared.peers.set_listed();
                listed = None;
            }
            tokio::select! {
                () = shutdown.cancelled() => break,
                Ok(()) = interceptors.changed() => {}
                Some(ended) = running.tasks.join_next() => running.remove(&ended?),
                else => {
                    shutdown.cancelled().await;
                    break;
                }
            }
        }
        drop(listed);
        Ok(())
    }
}

impl SubscriptionTasks {
    fn adjust(&mut self, wanted: BTreeMap<HostPort, bool>) {
        let ready = wanted.iter().filter(|(_, ready)| **ready);
        let ready = ready.map(|(interceptor, _)| interceptor.as_str().to_owned());
        self.shared.demand.set_reachable(ready.collect());
        for (interceptor, listed) in &self.listed {
            let now = wanted.contains_key(interceptor);
            listed.send_if_modified(|before| std::mem::replace(before, now) != now);
        }
        for interceptor in wanted.into_keys() {
            if !self.listed.contains_key(&interceptor) {
                self.start(interceptor);
            }
        }
    }

    fn start(&mut self, interceptor: HostPort) {
        self.shared.peers.add(&interceptor);
        let (listed, is_listed) = watch::channel(true);
        let subscription = InterceptorSubscription {
            shared: self.shared.clone(),
            interceptor: interceptor.clone(),
            listed: is_listed,
            started: Instant::now(),
            backoff: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE),
            connected: false,
        };
        let span = tracing::info_span!("interceptor", address = %interceptor);
        self.tasks.spawn(subscription.run().instrument(span));
        self.listed.insert(interceptor, listed);
    }

    /// Its task has ended, so no report follows. If it is listed again by now, it gets a new task.
    fn remove(&mut self, interceptor: &HostPort) {
        self.listed.remove(interceptor);
        self.shared.demand.forget(interceptor.as_str());
        self.shared.open_ports.forget(interceptor);
        self.shared.peers.remove(interceptor);
    }
}

impl InterceptorSubscription {
    /// Runs until the interceptor is neither listed nor connected.
    async fn run(mut self) -> HostPort {
        loop {
            let lost = match self.stream().await {
                StreamEnd::Lost(reason) => reason,
                StreamEnd::NotServed(reason) => match self.poll().await {
                    Ok(()) => continue,
                    Err(error) => format!("stream: {reason}; /queue: {error}"),
                },
            };
            if *self.listed.borrow() {
                self.report_loss(&lost);
            }
            tokio::select! {
                () = wait_unlisted(self.listed.clone()) => break,
                () = sleep(self.backoff.jittered()) => {}
            }
        }
        tracing::info!("interceptor removed");
        self.interceptor
    }

    /// Receives reports from the stream until it ends.
    async fn stream(&mut self) -> StreamEnd {
        let opening = open(&self.interceptor);
        let opened = tokio::select! {
            () = wait_unlisted(self.listed.clone()) => return StreamEnd::Lost("it is no longer listed".to_owned()),
            opened = opening => opened,
        };
        let (first, mut reports) = match opened {
            Ok(opened) => opened,
            Err(end) => return end,
        };
        self.observe_stream(first, true);
        loop {
            match reports.message().await {
                Ok(Some(report)) => self.observe_stream(report, false),
                Ok(None) => return StreamEnd::Lost("the interceptor ended its stream".to_owned()),
                Err(status) => return StreamEnd::Lost(describe(&status)),
            }
        }
    }

    /// Polls `/queue` until it is time to try the stream again, or until a poll fails.
    async fn poll(&mut self) -> Result<(), String> {
        let until = Instant::now() + RETRY_STREAM_AFTER;
        let mut ticks = interval(self.shared.poll_every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let started = Instant::now();
            if started >= until && *self.listed.borrow() {
                return Ok(());
            }
            let answer = self.shared.queue.fetch(&self.interceptor).await;
            self.shared.metrics.fetched(started.elapsed(), answer.is_err());
            let queue = answer.map_err(|error| root_cause(&error))?;
            self.observe(queue::report(queue, self.started.elapsed()), ReportKind::Queue);
        }
    }

    fn observe_stream(&mut self, report: pending::Report, first: bool) {
        self.shared.open_ports.observe(&self.interceptor, &report, first);
        self.observe(report::report(report), ReportKind::Stream);
    }

    fn observe(&mut self, report: Report, source: ReportKind) {
        self.shared.demand.observe(self.interceptor.as_str(), report);
        self.shared.metrics.reported(source);
        if !self.connected {
            self.connected = true;
            self.backoff.reset();
            self.shared.peers.set(&self.interceptor, PeerState::Connected);
            tracing::info!(?source, "receiving reports of interceptor");
        }
    }

    fn report_loss(&mut self, reason: &str) {
        if self.connected {
            self.connected = false;
            self.shared.demand.disconnect(self.interceptor.as_str());
        }
        let state = PeerState::Unreachable(reason.to_owned());
        if self.shared.peers.set(&self.interceptor, state) {
            tracing::warn!(reason, "cannot reach interceptor");
        }
    }
}

async fn connect(interceptor: &HostPort) -> Result<Channel, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(format!("http://{interceptor}"))?.connect_timeout(CONNECT_TIMEOUT);
    let endpoint = endpoint
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT);
    // Otherwise hyper pings only after a frame has arrived on the open stream, and an interceptor without changes sends
    // none.
    endpoint.keep_alive_while_idle(true).connect().await
}

type ReportStream = Streaming<pending::Report>;

/// Opens the stream, and waits for its first report.
async fn open(interceptor: &HostPort) -> Result<(pending::Report, ReportStream), StreamEnd> {
    let channel = connect(interceptor).await;
    let channel = channel.map_err(|error| StreamEnd::Lost(root_cause(&error)))?;
    match timeout(FIRST_REPORT_TIMEOUT, watch_reports(channel)).await {
        Ok(Ok(opened)) => Ok(opened),
        Ok(Err(status)) => Err(StreamEnd::NotServed(describe(&status))),
        Err(_) => Err(StreamEnd::NotServed(format!(
            "no report within {FIRST_REPORT_TIMEOUT:?}"
        ))),
    }
}

async fn watch_reports(channel: Channel) -> Result<(pending::Report, ReportStream), Status> {
    let mut client = PendingRequestsClient::new(channel).max_decoding_message_size(MAX_REPORT_SIZE);
    let mut reports = client.watch(WatchRequest {}).await?.into_inner();
    let first = reports.message().await?;
    Ok((
        first.ok_or_else(|| Status::unavailable("the stream ended without a report"))?,
        reports,
    ))
}

/// Waits until the interceptor is no longer listed; a closed channel means the same.
async fn wait_unlisted(mut listed: watch::Receiver<bool>) {
    let _ = listed.wait_for(|listed| !listed).await;
}

fn describe(status: &Status) -> String {
    match status.source() {
        Some(source) => root_cause(source),
        None => format!("{:?}: {}", status.code(), status.message()),
    }
}
