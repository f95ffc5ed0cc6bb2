//! The way to an endpoint: get a connection, send one request over it, give it back.

pub mod backends;
pub(crate) mod connect;
pub(crate) mod connection;
pub(crate) mod endpoint;
pub(crate) mod pool;
pub(crate) mod request_body;
pub(crate) mod resolve;

use std::num::NonZeroU32;
use std::time::Duration;

use keda_http_core::session::EndpointId;
use keda_http_kubernetes::endpoints::AppProtocol;
use tokio::time::Instant;

use crate::counters::pending::{Pending, Waiting};
use crate::upstream::backends::Backend;
use crate::upstream::connect::{DialError, Sender};
use crate::upstream::connection::Connection;
use crate::upstream::endpoint::PickedEndpoint;

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

    fn idle_connection(&self, picked: PickedEndpoint) -> Result<Connection, PickedEndpoint> {
        let pool = picked.pool(self.worker);
        let found = match picked.protocol {
            AppProtocol::Http1 => pool.take().map(|(sender, idle)| (Sender::Http1(sender), idle)),
            AppProtocol::H2c => pool.shared().map(|sender| (Sender::Http2(sender), Duration::ZERO)),
        };
        match found {
            Some((sender, idle)) => Ok(Connection::new(sender, picked, self.worker, Some(idle))),
            None => Err(picked),
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
            let picked = match backend.pick(wanted.preferred) {
                Some(picked) => picked,
                None => {
                    // Being not ready again is no failure of a dial any more.
                    give_up = None;
                    stages.wait(wanted.hold)?;
                    let picked = backend.ready(wanted.preferred).await;
                    stages.ready = Some(Instant::now());
                    picked
                }
            };
            match self.open(picked, backend).await {
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
    async fn open(&self, picked: PickedEndpoint, backend: &Backend) -> Opened {
        let picked = match self.idle_connection(picked) {
            Ok(connection) => return Opened::Connected(connection),
            Err(picked) => picked,
        };
        let endpoint = std::sync::Arc::clone(&picked);
        let Some(permit) = endpoint.pool(self.worker).permit().await else {
            return Opened::Gone;
        };
        let picked = match self.idle_connection(picked) {
            Ok(connection) => return Opened::Connected(connection),
            Err(picked) => picked,
        };
        if endpoint.is_ejected() && backend.has_alternative(&endpoint) {
            return Opened::Gone;
        }
        match connect::dial(&endpoint.address, endpoint.protocol, self.connect_timeout).await {
            Ok(sender) => {
                permit.proven();
                if let Sender::Http2(sender) = &sender {
                    endpoint.pool(self.worker).share(sender);
                }
                Opened::Connected(Connection::new(sender, picked, self.worker, None))
            }
            Err(error) => {
                drop(picked);
                let failing_for = endpoint.eject();
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
    longest.mul_f64(0.5 + fastrand::f64() / 2.0)
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
