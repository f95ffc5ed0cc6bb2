//! One task per interceptor that keeps its reports coming: by the gRPC stream, or by polling a peer that has none.
//!
//! No task waits for another one, and no lock is held while a peer is waited for: one that hangs delays nobody.

mod report;

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use futures_util::FutureExt;
use keda_http_core::demand::Report;
use keda_http_proto::pending::WatchRequest;
use keda_http_proto::pending::pending_requests_client::PendingRequestsClient;
use keda_http_runtime::readiness::PendingTask;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};
use tracing::{Instrument, info, info_span, warn};

use crate::backoff::Backoff;
use crate::demand::SharedDemand;
use crate::interceptors::{Interceptor, Interceptors};
use crate::metrics::{Metrics, ReportKind};
use crate::peers::{PeerState, Peers};
use crate::queue::{self, CONNECT_TIMEOUT, QueueClient};

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
    /// The instruments.
    pub metrics: Metrics,
    /// For peers without the stream.
    pub queue: QueueClient,
    /// How often those are asked.
    pub poll_every: Duration,
}

type AllRunning = BTreeMap<Interceptor, Running>;

struct Running {
    task: JoinHandle<()>,
    stop: DropGuard,
}

struct Subscription {
    shared: Subscriptions,
    interceptor: Interceptor,
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
    /// Subscribes to the interceptors of the set, and follows its changes until `shutdown`. `listed` is held until there is
    /// a subscription for each of the first set.
    pub async fn run(
        self,
        mut interceptors: watch::Receiver<Interceptors>,
        listed: PendingTask,
        shutdown: CancellationToken,
    ) {
        let mut running = BTreeMap::new();
        let first = interceptors.borrow_and_update().clone();
        self.adjust(&mut running, first, &shutdown).await;
        drop(listed);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                Ok(()) = interceptors.changed() => {}
                else => return shutdown.cancelled().await,
            }
            let wanted = interceptors.borrow_and_update().clone();
            self.adjust(&mut running, wanted, &shutdown).await;
        }
    }

    async fn adjust(&self, running: &mut AllRunning, wanted: Interceptors, shutdown: &CancellationToken) {
        let gone: Vec<Interceptor> = running
            .keys()
            .filter(|known| !wanted.contains(known))
            .cloned()
            .collect();
        for interceptor in gone {
            if let Some(subscription) = running.remove(&interceptor) {
                self.stop(&interceptor, subscription).await;
            }
        }
        for interceptor in wanted {
            running
                .entry(interceptor)
                .or_insert_with_key(|interceptor| self.start(interceptor, shutdown));
        }
    }

    fn start(&self, interceptor: &Interceptor, shutdown: &CancellationToken) -> Running {
        self.peers.add(interceptor);
        let subscription = Subscription {
            shared: self.clone(),
            interceptor: interceptor.clone(),
            started: Instant::now(),
            backoff: Backoff::new(),
            heard: false,
        };
        let stop = shutdown.child_token();
        let follow = stop.clone().run_until_cancelled_owned(subscription.follow());
        let task = tokio::spawn(
            follow
                .map(|_| ())
                .instrument(info_span!("interceptor", address = %interceptor)),
        );
        Running {
            task,
            stop: stop.drop_guard(),
        }
    }

    /// A removed interceptor counts no more; its task has ended before it is forgotten, so nothing comes after.
    async fn stop(&self, interceptor: &Interceptor, Running { task, stop }: Running) {
        drop(stop);
        // An error is a panic of the task, which has been told already.
        let _ = task.await;
        self.demand.forget(interceptor.as_str());
        self.peers.remove(interceptor);
    }
}

impl Subscription {
    async fn follow(mut self) {
        loop {
            let lost = match self.stream().await {
                StreamEnd::Lost(reason) => reason,
                StreamEnd::NotServed(reason) => match self.poll().await {
                    Ok(()) => continue,
                    Err(error) => format!("stream: {reason}; /queue: {error}"),
                },
            };
            self.lose(&lost);
            sleep(self.backoff.pause()).await;
        }
    }

    /// Takes reports from the peer's stream until it is over.
    async fn stream(&mut self) -> StreamEnd {
        let channel = match connect(&self.interceptor).await {
            Ok(channel) => channel,
            Err(error) => return StreamEnd::Lost(innermost(&error)),
        };
        let mut reports = match timeout(FIRST_REPORT_TIMEOUT, open(channel)).await {
            Ok(Ok((first, reports))) => {
                self.observe(report::report(first), ReportKind::Stream);
                reports
            }
            Ok(Err(status)) => return StreamEnd::NotServed(describe(&status)),
            Err(_) => return StreamEnd::NotServed(format!("no report within {FIRST_REPORT_TIMEOUT:?}")),
        };
        loop {
            match reports.message().await {
                Ok(Some(report)) => self.observe(report::report(report), ReportKind::Stream),
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
            if started >= until {
                return Ok(());
            }
            let answer = self.shared.queue.fetch(&self.interceptor).await;
            self.shared.metrics.fetched(started.elapsed(), answer.is_err());
            let queue = answer.map_err(|error| innermost(&error))?;
            self.observe(queue::report(queue, self.started.elapsed()), ReportKind::Queue);
        }
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

type Reports = Streaming<keda_http_proto::pending::Report>;

async fn open(channel: Channel) -> Result<(keda_http_proto::pending::Report, Reports), Status> {
    let mut client = PendingRequestsClient::new(channel).max_decoding_message_size(LARGEST_REPORT);
    let mut reports = client.watch(WatchRequest {}).await?.into_inner();
    let first = reports.message().await?;
    Ok((
        first.ok_or_else(|| Status::unavailable("the stream ended without a report"))?,
        reports,
    ))
}

fn describe(status: &Status) -> String {
    match status.source() {
        Some(source) => innermost(source),
        None => format!("{:?}: {}", status.code(), status.message()),
    }
}

/// What is at the bottom of an error: "connection refused" instead of "transport error".
fn innermost(error: &dyn Error) -> String {
    match error.source() {
        Some(source) => innermost(source),
        None => error.to_string(),
    }
}
