//! One task per interceptor that keeps its reports coming: by the gRPC stream, or by polling a peer that has none.
//!
//! No task waits for another one, and no lock is held while a peer is waited for: one that hangs delays nobody. An
//! interceptor that is no longer listed but still heard counts as long as it is heard: it still answers requests. What it no
//! longer has says nothing, though: new requests do not reach it.

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
use tracing::{Instrument, info, info_span, warn};

use crate::demand::SharedDemand;
use crate::interceptors::open_ports::Listeners;
use crate::interceptors::peers::{PeerState, Peers};
use crate::interceptors::queue::{self, CONNECT_TIMEOUT, QueueClient};
use crate::interceptors::{Interceptor, Interceptors};
use crate::metrics::{Metrics, ReportKind};
use crate::root_cause::root_cause;

/// The first pause: a restarted interceptor is heard again within the blink that its restart takes.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause: an interceptor that comes back after an hour is heard this soon.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// A peer that accepts and then says nothing is given up after this long.
const FIRST_REPORT_TIMEOUT: Duration = Duration::from_secs(3);
/// A stream is silent while nothing changes; pings notice within five seconds that the peer is gone.
const PING_EVERY: Duration = Duration::from_secs(2);
const PING_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a peer without the stream is polled before the stream is tried again: an upgrade shows this soon.
const STREAM_AGAIN: Duration = Duration::from_secs(10);
/// A complete report of a hundred thousand targets is 15 MB.
const LARGEST_REPORT: usize = 64 << 20;

/// What all subscriptions share.
#[derive(Clone)]
pub struct Subscriptions {
    /// Where reports go.
    pub demand: SharedDemand,
    /// Where the peers' states go.
    pub peers: Peers,
    /// Where the open ports of autowired Services go.
    pub listeners: Listeners,
    /// The instruments.
    pub metrics: Metrics,
    /// For peers without the stream.
    pub queue: QueueClient,
    /// How often those are asked.
    pub poll_every: Duration,
}

/// A task for each interceptor, which ends when the interceptor is neither listed nor heard.
struct Running {
    shared: Subscriptions,
    /// Whether each of them is listed.
    listed: BTreeMap<Interceptor, watch::Sender<bool>>,
    tasks: JoinSet<Interceptor>,
}

struct Subscription {
    shared: Subscriptions,
    interceptor: Interceptor,
    listed: watch::Receiver<bool>,
    started: Instant,
    backoff: Backoff,
    /// Whether reports arrive, so that the loss of them is told once.
    heard: bool,
}

/// Why a stream is over.
enum StreamEnd {
    /// The peer can be reached, but there was not one report.
    NotServed(String),
    /// The peer cannot be reached, or can no longer be.
    Lost(String),
}

impl Subscriptions {
    /// Subscribes to the interceptors of the set, and follows its changes until `shutdown`. `listed` is held until the set
    /// is known and there is a subscription for each of the first one.
    ///
    /// # Errors
    /// When a subscription has panicked.
    pub async fn run(
        self,
        mut interceptors: watch::Receiver<Interceptors>,
        listed: PendingTask,
        shutdown: CancellationToken,
    ) -> Result<(), JoinError> {
        let mut listed = Some(listed);
        let mut running = Running {
            shared: self,
            listed: BTreeMap::new(),
            tasks: JoinSet::new(),
        };
        loop {
            let wanted = interceptors.borrow_and_update().clone();
            if let Some(wanted) = wanted {
                running.adjust(wanted);
                running.shared.peers.list_is_read();
                listed = None;
            }
            tokio::select! {
                () = shutdown.cancelled() => break,
                Ok(()) = interceptors.changed() => {}
                Some(ended) = running.tasks.join_next() => running.forget(&ended?),
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

impl Running {
    fn adjust(&mut self, wanted: BTreeMap<Interceptor, bool>) {
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

    fn start(&mut self, interceptor: Interceptor) {
        self.shared.peers.add(&interceptor);
        let (listed, is_listed) = watch::channel(true);
        let subscription = Subscription {
            shared: self.shared.clone(),
            interceptor: interceptor.clone(),
            listed: is_listed,
            started: Instant::now(),
            backoff: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE),
            heard: false,
        };
        let span = info_span!("interceptor", address = %interceptor);
        self.tasks.spawn(subscription.follow().instrument(span));
        self.listed.insert(interceptor, listed);
    }

    /// Its task has ended, so nothing comes after. Should it be listed again by now, the next look at the set starts anew.
    fn forget(&mut self, interceptor: &Interceptor) {
        self.listed.remove(interceptor);
        self.shared.demand.forget(interceptor.as_str());
        self.shared.listeners.forget(interceptor);
        self.shared.peers.remove(interceptor);
    }
}

impl Subscription {
    /// Keeps the reports coming until the interceptor is neither listed nor heard.
    async fn follow(mut self) -> Interceptor {
        loop {
            let lost = match self.stream().await {
                StreamEnd::Lost(reason) => reason,
                StreamEnd::NotServed(reason) => match self.poll().await {
                    Ok(()) => continue,
                    Err(error) => format!("stream: {reason}; /queue: {error}"),
                },
            };
            if *self.listed.borrow() {
                self.lose(&lost);
            }
            tokio::select! {
                () = unlisted(self.listed.clone()) => break,
                () = sleep(self.backoff.jittered()) => {}
            }
        }
        info!("interceptor is gone");
        self.interceptor
    }

    /// Takes reports from the peer's stream until it is over.
    async fn stream(&mut self) -> StreamEnd {
        let opening = open(&self.interceptor);
        let opened = tokio::select! {
            () = unlisted(self.listed.clone()) => return StreamEnd::Lost("it is no longer listed".to_owned()),
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

    /// Polls the peer's `/queue` until it is time to try the stream again, or until a poll fails.
    async fn poll(&mut self) -> Result<(), String> {
        let until = Instant::now() + STREAM_AGAIN;
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

    fn observe_stream(&mut self, told: pending::Report, first: bool) {
        self.shared.listeners.observe(&self.interceptor, &told, first);
        self.observe(report::report(told), ReportKind::Stream);
    }

    fn observe(&mut self, report: Report, source: ReportKind) {
        self.shared.demand.observe(self.interceptor.as_str(), report);
        self.shared.metrics.reported(source);
        if !self.heard {
            self.heard = true;
            self.backoff.reset();
            self.shared.peers.set(&self.interceptor, PeerState::Heard);
            info!(?source, "interceptor is heard");
        }
    }

    fn lose(&mut self, reason: &str) {
        if self.heard {
            self.heard = false;
            self.shared.demand.disconnect(self.interceptor.as_str());
        }
        if self
            .shared
            .peers
            .set(&self.interceptor, PeerState::Unreachable(reason.to_owned()))
        {
            warn!(reason, "interceptor cannot be reached");
        }
    }
}

async fn connect(interceptor: &Interceptor) -> Result<Channel, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(format!("http://{interceptor}"))?.connect_timeout(CONNECT_TIMEOUT);
    let endpoint = endpoint
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT);
    // Without this hyper begins to ping only when a frame arrives after the stream was opened, and an interceptor with
    // nothing to report sends none.
    endpoint.keep_alive_while_idle(true).connect().await
}

type Reports = Streaming<pending::Report>;

/// The peer's stream, and its first report.
async fn open(interceptor: &Interceptor) -> Result<(pending::Report, Reports), StreamEnd> {
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

async fn watch_reports(channel: Channel) -> Result<(pending::Report, Reports), Status> {
    let mut client = PendingRequestsClient::new(channel).max_decoding_message_size(LARGEST_REPORT);
    let mut reports = client.watch(WatchRequest {}).await?.into_inner();
    let first = reports.message().await?;
    Ok((
        first.ok_or_else(|| Status::unavailable("the stream ended without a report"))?,
        reports,
    ))
}

/// Waits until the interceptor is not listed. Nobody lists it any more when nobody can say so.
async fn unlisted(mut listed: watch::Receiver<bool>) {
    let _ = listed.wait_for(|listed| !listed).await;
}

fn describe(status: &Status) -> String {
    match status.source() {
        Some(source) => root_cause(source),
        None => format!("{:?}: {}", status.code(), status.message()),
    }
}
