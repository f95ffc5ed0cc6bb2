//! Connects a request to an endpoint: at once over an idle connection, else by waiting and dialling.

pub(crate) mod backends;
pub(crate) mod connect;
pub(crate) mod connection;
pub(crate) mod endpoint;
pub(crate) mod pool;
pub(crate) mod request_body;
pub(crate) mod resolve;
mod stream;
pub(crate) mod trailers;

use std::num::NonZeroU32;
use std::pin::Pin;
use std::time::Duration;

use keda_http_core::session::EndpointId;
use keda_http_kubernetes::endpoints::AppProtocol;
use tokio::time::Instant;

use crate::config::HeaderNameCase;
use crate::counters::pending::{Pending, Waiting};
use crate::upstream::backends::Backend;
use crate::upstream::connect::{DialError, Sender};
use crate::upstream::connection::Connection;
use crate::upstream::endpoint::PickedEndpoint;

/// How long a ready endpoint that cannot be reached is dialled when nothing else bounds the request, as in the Go
/// add-on.
const DIAL_LIMIT: Duration = Duration::from_secs(60);
/// The longest pause between two dials of the same endpoint in its first second of refusing; it decides how late a
/// socket that opens late is noticed.
const SHORT_PAUSE: Duration = Duration::from_millis(3);
/// The longest pause later on.
const LONG_PAUSE: Duration = Duration::from_millis(50);

/// How long a workload counts as starting where a request may be held without a limit.
const START_LIMIT: Duration = Duration::from_secs(20 * 60);

/// How long a request waits for its fallback, since the route's own budget is spent by then.
const FALLBACK_LIMIT: Duration = Duration::from_secs(30);

/// How the requests of one worker reach endpoints.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Upstream {
    /// Its number; connections never leave their worker.
    pub(crate) worker: usize,
    /// For one dial; zero is no limit.
    pub(crate) connect_timeout: Duration,
    /// How header names are written on HTTP/1.1.
    pub(crate) header_names: HeaderNameCase,
}

/// What a request wants to be connected to.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) backend: &'a Backend,
    pub(crate) hold: Hold<'a>,
    pub(crate) needs: Needs,
    pub(crate) deadline: Option<Instant>,
}

/// What a connection must be like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Needs {
    /// The endpoint of the client's session, picked while it is ready and not ejected.
    pub(crate) endpoint: Option<EndpointId>,
    /// gRPC cannot do without HTTP/2, also where the Service does not say that its app speaks it.
    pub(crate) http2: bool,
    /// Whether it must be new, since an idle one was closed and may have been closed with all others.
    pub(crate) new: bool,
}

impl Needs {
    pub(crate) fn new(endpoint: Option<EndpointId>, http2: bool) -> Self {
        Self {
            endpoint,
            http2,
            new: false,
        }
    }

    fn protocol(self, picked: &PickedEndpoint) -> AppProtocol {
        if self.http2 { AppProtocol::H2c } else { picked.protocol }
    }
}

/// Whether a request waits while no endpoint is ready.
#[derive(Clone, Copy)]
pub(crate) enum Hold<'a> {
    Never,
    /// It waits, as one of at most this many.
    Among(&'a Pending, Option<NonZeroU32>),
}

/// Why a request got no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// No endpoint is ready, and the request is not to wait for one.
    #[error("no endpoint is ready")]
    Unavailable,
    #[error("too many requests are waiting for an endpoint")]
    TooManyPending,
    #[error("no endpoint became ready within {0:?}")]
    NotReady(Duration),
    #[error("{failure} ({attempts} attempts)")]
    Unreachable {
        /// The last failure.
        failure: String,
        attempts: u32,
    },
    /// The client closed its side while its request waited.
    #[error("the client went away")]
    ClientGone,
    /// This process ends before the request has a connection.
    #[error("this interceptor shuts down before the workload is ready")]
    Draining,
}

/// What came of a request that found no connection at hand.
pub(crate) struct Connected {
    pub(crate) connection: Result<Connection, ConnectError>,
    pub(crate) stages: ConnectStages,
}

/// What a request that found no connection at hand went through.
#[derive(Debug, Default)]
pub(crate) struct ConnectStages {
    /// When it began to wait for an endpoint; `None` when one was ready all the time.
    pub(crate) held: Option<Instant>,
    /// Counts it among those that wait until it has its connection, so that an endpoint that comes and goes does not
    /// cost it its place.
    waiting: Option<Waiting>,
    /// When an endpoint was ready after that.
    pub(crate) ready: Option<Instant>,
    /// Whether the route's own upstream was given up for its fallback.
    pub(crate) fallback: bool,
    /// The first dials that failed, with their time, in order.
    pub(crate) failures: Vec<(Instant, String)>,
    /// How many dials failed.
    pub(crate) attempts: u32,
}

impl Upstream {
    /// The warm path: an idle connection to a ready endpoint, or nothing.
    pub(crate) fn idle_connection(&self, backend: &Backend, needs: Needs) -> Option<Connection> {
        self.reuse(backend.pick(needs.endpoint)?, needs).ok()
    }

    fn reuse(&self, picked: PickedEndpoint, needs: Needs) -> Result<Connection, PickedEndpoint> {
        let pool = picked.pool(self.worker);
        let found = match needs.protocol(&picked) {
            AppProtocol::Http1 if needs.new => None,
            AppProtocol::Http1 => pool.take_idle().map(Sender::Http1),
            AppProtocol::H2c => pool.shared().map(Sender::Http2),
        };
        match found {
            Some(sender) => Ok(Connection::new(sender, picked, self.worker, true)),
            None => Err(picked),
        }
    }

    /// The cold path: waits until an endpoint can be reached, or one of the fallback when the route's own upstream is
    /// too late, unless `abandoned` comes first and says why nobody needs the connection any more.
    pub(crate) async fn connect(
        &self,
        own: Wanted<'_>,
        fallback: Option<Wanted<'_>>,
        abandoned: Pin<&mut impl Future<Output = ConnectError>>,
    ) -> Connected {
        let mut connecting = Connecting {
            upstream: self,
            stages: ConnectStages::default(),
        };
        let connection = tokio::select! {
            connection = connecting.connect_either(own, fallback) => connection,
            error = abandoned => Err(error),
        };
        Connected {
            connection,
            stages: connecting.stages,
        }
    }

    /// Waits for its turn at the endpoint, then takes an idle connection or dials. A failed dial is followed by a
    /// pause before the next in turn may dial, unless there is another endpoint to try.
    async fn open(&self, picked: PickedEndpoint, wanted: Wanted<'_>) -> Opened {
        let Wanted { backend, needs, .. } = wanted;
        let picked = match self.reuse(picked, needs) {
            Ok(connection) => return Opened::Connected(connection),
            Err(picked) => picked,
        };
        let endpoint = std::sync::Arc::clone(&picked);
        let Some(permit) = endpoint.pool(self.worker).permit().await else {
            return Opened::Gone;
        };
        let picked = match self.reuse(picked, needs) {
            Ok(connection) => return Opened::Connected(connection),
            Err(picked) => picked,
        };
        if endpoint.is_ejected() && backend.has_alternative(&endpoint) {
            return Opened::Gone;
        }
        let protocol = needs.protocol(&picked);
        // Boxed: a request that is held for an endpoint would have the memory of its dial all the time.
        match Box::pin(connect::dial(&endpoint, protocol, self)).await {
            Ok(sender) => {
                permit.mark_proven();
                if let Sender::Http2(sender) = &sender {
                    endpoint.pool(self.worker).share(sender);
                }
                Opened::Connected(Connection::new(sender, picked, self.worker, false))
            }
            // The request has chosen a protocol that the endpoint may not speak.
            Err(error @ DialError::Handshake { .. }) if protocol != endpoint.protocol => {
                drop(picked);
                tokio::time::sleep(LONG_PAUSE).await;
                Opened::Failed(error)
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

/// A request on its way to a connection.
struct Connecting<'a> {
    upstream: &'a Upstream,
    stages: ConnectStages,
}

impl Connecting<'_> {
    async fn connect_either(
        &mut self,
        own: Wanted<'_>,
        fallback: Option<Wanted<'_>>,
    ) -> Result<Connection, ConnectError> {
        let error = match self.connect_to(own).await {
            Err(error @ (ConnectError::NotReady(_) | ConnectError::Unreachable { .. })) => error,
            connected_or_refused => return connected_or_refused,
        };
        let now = Instant::now();
        let Some(fallback) = fallback.filter(|fallback| fallback.deadline.is_none_or(|deadline| deadline > now)) else {
            return Err(error);
        };
        self.stages.fallback = true;
        let limit = now + FALLBACK_LIMIT;
        let deadline = Some(fallback.deadline.map_or(limit, |deadline| deadline.min(limit)));
        self.connect_to(Wanted { deadline, ..fallback }).await
    }

    /// Connects to whichever endpoint can be reached before the deadline. A dial that is refused, reset or not
    /// answered means "not yet": another endpoint is tried at once, the same one after a short pause.
    async fn connect_to(&mut self, wanted: Wanted<'_>) -> Result<Connection, ConnectError> {
        let started = Instant::now();
        let trying = self.try_until_connected(wanted);
        let connected = match wanted.deadline {
            Some(deadline) => tokio::time::timeout_at(deadline, trying).await.unwrap_or(Ok(None)),
            None => trying.await,
        };
        match (connected?, wanted.backend.failure()) {
            (Some(connection), _) => Ok(connection),
            (None, Some(failure)) if wanted.backend.ready_count() > 0 => Err(ConnectError::Unreachable {
                failure,
                attempts: self.stages.attempts,
            }),
            (None, _) => Err(ConnectError::NotReady(started.elapsed())),
        }
    }

    /// `None` when endpoints were there but none could be reached for [`DIAL_LIMIT`].
    async fn try_until_connected(&mut self, wanted: Wanted<'_>) -> Result<Option<Connection>, ConnectError> {
        let backend = wanted.backend;
        let mut give_up = None;
        loop {
            let picked = match backend.pick(wanted.needs.endpoint) {
                Some(picked) => picked,
                None => {
                    // Now it is not ready again, which is not a failed dial any more.
                    give_up = None;
                    self.stages.begin_wait(wanted)?;
                    let picked = backend.ready(wanted.needs.endpoint).await;
                    self.stages.ready = Some(Instant::now());
                    picked
                }
            };
            match self.upstream.open(picked, wanted).await {
                Opened::Connected(connection) => return Ok(Some(connection)),
                Opened::Gone => {}
                Opened::Failed(error) => {
                    self.stages.note_failure(&error, backend.ready_count() < 2);
                    backend.note_failure(&error);
                    let limit = *give_up.get_or_insert_with(|| Instant::now() + DIAL_LIMIT);
                    if Instant::now() >= limit {
                        return Ok(None);
                    }
                }
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

    fn begin_wait(&mut self, wanted: Wanted<'_>) -> Result<(), ConnectError> {
        let Hold::Among(pending, limit) = wanted.hold else {
            return Err(ConnectError::Unavailable);
        };
        if self.waiting.is_none() {
            self.waiting = Some(pending.wait(limit).ok_or(ConnectError::TooManyPending)?);
            // A fallback that starts is another workload.
            if !self.fallback {
                let until = wanted
                    .deadline
                    .map(|deadline| deadline.saturating_duration_since(Instant::now()));
                pending.target().begin_start(until.unwrap_or(START_LIMIT));
                wanted.backend.note_start(pending.target());
            }
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
