//! The way to an endpoint: get a connection, send one request over it, give it back.

pub mod backends;
pub mod connect;
pub mod pool;
pub mod resolve;

use std::num::NonZeroU32;
use std::time::Duration;

use futures_util::future::Either;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use tokio::time::Instant;

use crate::body::RequestBody;
use crate::counters::pending::{Pending, Waiting};
use crate::upstream::backends::{Backend, Lease, random_below};
use connect::DialError;
use keda_http_core::session::EndpointId;
use keda_http_kubernetes::endpoints::{Address, AppProtocol};

/// For how long an endpoint that is ready but cannot be reached is tried when nothing else bounds the request (upstream's limit).
const DIAL_LIMIT: Duration = Duration::from_secs(60);
/// The longest pause between two dials of the same endpoint in its first second of refusing; it decides how late a
/// socket that opens late is noticed.
const SHORT_PAUSE: Duration = Duration::from_millis(3);
/// The longest pause later on.
const LONG_PAUSE: Duration = Duration::from_millis(50);

/// How a worker reaches endpoints.
#[derive(Debug, Clone, Copy)]
pub struct Upstream {
    /// Which worker; connections never leave theirs.
    pub worker: usize,
    /// For one dial; zero is no limit.
    pub connect_timeout: Duration,
}

/// The sending half of a connection.
pub enum Sender {
    /// One request at a time.
    Http1(http1::SendRequest<RequestBody>),
    /// Shared by many requests.
    Http2(http2::SendRequest<RequestBody>),
}

/// A connection in the hands of one request.
pub struct Connection {
    sender: Sender,
    lease: Lease,
    worker: usize,
    /// For how long it was idle before; `None` when it is new.
    idle: Option<Duration>,
}

/// What a request asks for.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// Whose endpoints.
    pub backend: &'a Backend,
    /// Whether it waits for one.
    pub hold: Hold<'a>,
    /// The one it would have, when it may be had at once.
    pub preferred: Option<EndpointId>,
    /// Until when.
    pub deadline: Option<Instant>,
}

/// Whether a request waits while no endpoint is ready.
#[derive(Clone, Copy)]
pub enum Hold<'a> {
    /// It does not.
    Never,
    /// It does, as one of at most so many.
    Among(&'a Pending, Option<NonZeroU32>),
}

/// Why no connection was to be had in time.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No endpoint is ready, and the request is not to wait for one.
    #[error("no endpoint is ready")]
    Unavailable,
    /// No endpoint is ready, and as many requests as may wait do so already.
    #[error("too many requests are waiting for an endpoint")]
    TooManyPending,
    /// No endpoint became ready.
    #[error("no endpoint became ready within {0:?}")]
    NotReady(Duration),
    /// Endpoints were ready, but none could be reached.
    #[error("{failure} ({attempts} attempts)")]
    Unreachable {
        /// The last failure.
        failure: String,
        /// How many there were.
        attempts: u32,
    },
}

/// What a request that had to wait for its connection went through.
#[derive(Debug, Default)]
pub struct ConnectStages {
    /// When the wait for an endpoint began, when there was none.
    pub held: Option<Instant>,
    /// Its place among those that wait, kept until it has its connection: an endpoint that comes and goes costs nobody a place.
    waiting: Option<Waiting>,
    /// When an endpoint was ready after that.
    pub ready: Option<Instant>,
    /// Whether the route's own upstream was given up for its fallback.
    pub fallback: bool,
    /// Dials that failed, with their time, in order; the first few.
    pub failures: Vec<(Instant, String)>,
    /// How many dials failed.
    pub attempts: u32,
}

impl Upstream {
    /// A connection at once, when an endpoint is ready and an idle connection to it is at hand: the warm path.
    pub fn at_hand(&self, backend: &Backend, preferred: Option<EndpointId>) -> Option<Connection> {
        self.idle_connection(backend.pick(preferred)?).ok()
    }

    fn idle_connection(&self, lease: Lease) -> Result<Connection, Lease> {
        let pool = lease.pool(self.worker);
        let found = match lease.protocol {
            AppProtocol::Http1 => pool.take().map(|(sender, idle)| (Sender::Http1(sender), idle)),
            AppProtocol::H2c => pool.shared().map(|sender| (Sender::Http2(sender), Duration::ZERO)),
        };
        match found {
            Some((sender, idle)) => Ok(self.connection(sender, lease, Some(idle))),
            None => Err(lease),
        }
    }

    fn connection(&self, sender: Sender, lease: Lease, idle: Option<Duration>) -> Connection {
        Connection {
            sender,
            lease,
            worker: self.worker,
            idle,
        }
    }

    /// A connection to whichever endpoint can be reached before the deadline. A dial that is refused, reset or not
    /// answered means "not yet": another endpoint is tried at once, the same one after a short pause.
    pub async fn connect(&self, wanted: Wanted<'_>, stages: &mut ConnectStages) -> Result<Connection, ConnectError> {
        let started = Instant::now();
        let trying = self.try_until_connected(wanted, stages);
        let connected = match wanted.deadline {
            Some(deadline) => tokio::time::timeout_at(deadline, trying).await.unwrap_or(Ok(None)),
            None => trying.await,
        };
        match (connected?, wanted.backend.failure()) {
            (Some(connection), _) => Ok(connection),
            (None, Some(failure)) if wanted.backend.ready_count() > 0 => Err(ConnectError::Unreachable {
                failure,
                attempts: stages.attempts,
            }),
            (None, _) => Err(ConnectError::NotReady(started.elapsed())),
        }
    }

    /// `None` when endpoints were there but none could be reached for [`DIAL_LIMIT`].
    async fn try_until_connected(
        &self,
        wanted: Wanted<'_>,
        stages: &mut ConnectStages,
    ) -> Result<Option<Connection>, ConnectError> {
        let backend = wanted.backend;
        let mut give_up = None;
        loop {
            let lease = match backend.pick(wanted.preferred) {
                Some(lease) => lease,
                None => {
                    // Being not ready again is no failure of a dial any more.
                    give_up = None;
                    stages.wait(wanted.hold)?;
                    let lease = backend.ready(wanted.preferred).await;
                    stages.ready = Some(Instant::now());
                    lease
                }
            };
            match self.open(lease, backend).await {
                Opened::Connected(connection) => return Ok(Some(connection)),
                Opened::Gone => {}
                Opened::Failed(error) => {
                    stages.note_failure(&error, backend.ready_count() < 2);
                    backend.note_failure(&error);
                    let limit = *give_up.get_or_insert_with(|| Instant::now() + DIAL_LIMIT);
                    if Instant::now() >= limit {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Waits for its turn at the endpoint, then takes an idle connection or dials. A failed dial is followed by a
    /// pause before the next in turn may dial, unless there is another endpoint to try.
    async fn open(&self, lease: Lease, backend: &Backend) -> Opened {
        let lease = match self.idle_connection(lease) {
            Ok(connection) => return Opened::Connected(connection),
            Err(lease) => lease,
        };
        let endpoint = std::sync::Arc::clone(&lease);
        let Some(permit) = endpoint.pool(self.worker).permit().await else {
            return Opened::Gone;
        };
        let lease = match self.idle_connection(lease) {
            Ok(connection) => return Opened::Connected(connection),
            Err(lease) => lease,
        };
        if endpoint.is_avoided() && backend.has_alternative(&endpoint) {
            return Opened::Gone;
        }
        match connect::dial(&endpoint.address, endpoint.protocol, self.connect_timeout).await {
            Ok(sender) => {
                permit.proven();
                if let Sender::Http2(sender) = &sender {
                    endpoint.pool(self.worker).share(sender);
                }
                Opened::Connected(self.connection(sender, lease, None))
            }
            Err(error) => {
                drop(lease);
                let failing_for = endpoint.quarantine();
                if !backend.has_alternative(&endpoint) {
                    tokio::time::sleep(pause(failing_for)).await;
                }
                Opened::Failed(error)
            }
        }
    }
}

enum Opened {
    Connected(Connection),
    /// The endpoint is no longer worth waiting for: pick again.
    Gone,
    Failed(DialError),
}

/// The jittered pause after a failed dial of an endpoint that has been failing for so long.
fn pause(failing_for: Duration) -> Duration {
    let longest = if failing_for < Duration::from_secs(1) {
        SHORT_PAUSE
    } else {
        LONG_PAUSE
    };
    let longest = longest.min(failing_for.max(Duration::from_millis(1)));
    let micros = usize::try_from(longest.as_micros()).unwrap_or(usize::MAX);
    Duration::from_micros((micros / 2 + random_below(micros / 2 + 1)) as u64)
}

impl ConnectStages {
    /// Failures that are kept one by one.
    const KEPT: usize = 8;

    /// The request is to be held.
    fn wait(&mut self, hold: Hold<'_>) -> Result<(), ConnectError> {
        let Hold::Among(pending, limit) = hold else {
            return Err(ConnectError::Unavailable);
        };
        if self.waiting.is_none() {
            self.waiting = Some(pending.wait(limit).ok_or(ConnectError::TooManyPending)?);
        }
        self.held.get_or_insert_with(Instant::now);
        Ok(())
    }

    /// With no other endpoint to go to, a request whose pod does not listen yet is held just as one without a pod.
    fn note_failure(&mut self, error: &DialError, alone: bool) {
        self.attempts += 1;
        if alone {
            self.held.get_or_insert_with(Instant::now);
            self.ready.get_or_insert_with(Instant::now);
        }
        if self.failures.len() < Self::KEPT {
            self.failures.push((Instant::now(), error.to_string()));
        }
    }
}

impl Connection {
    /// For how long it was idle before this request; `None` when it is new.
    pub fn idle(&self) -> Option<Duration> {
        self.idle
    }

    /// The endpoint has answered: whatever was held against it is forgotten.
    pub fn answered(&self) {
        self.lease.trust();
    }

    /// The endpoint took the connection and did not answer: another one is preferred for a while.
    pub fn failed(&self) {
        self.lease.quarantine();
    }

    /// How it speaks.
    pub fn protocol(&self) -> AppProtocol {
        self.lease.protocol
    }

    /// Where it goes.
    pub fn address(&self) -> &Address {
        &self.lease.address
    }

    /// What the endpoint is called in cookies.
    pub fn endpoint(&self) -> EndpointId {
        self.lease.id
    }

    /// Sends a request whose headers and URI are fit for the connection's protocol, up to the response's head. A
    /// request of which nothing was sent comes back in the error.
    pub fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>> + use<> {
        match &mut self.sender {
            Sender::Http1(sender) => Either::Left(sender.try_send_request(request)),
            Sender::Http2(sender) => Either::Right(sender.try_send_request(request)),
        }
    }

    /// Back to the pool, when it can carry another request; otherwise it is closed.
    pub fn give_back(self) {
        if let Sender::Http1(sender) = self.sender
            && sender.is_ready()
            && !self.lease.is_removed()
        {
            self.lease.pool(self.worker).put(sender);
        }
    }
}
