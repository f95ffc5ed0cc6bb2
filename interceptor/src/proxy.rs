//! THE request, from top to bottom: its route, its turn, its connection, its answer.
//!
//! Results are values and what must happen at the end is owned: a client that goes away drops the future, and with it
//! the pending count, the wait and the call to the endpoint.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use keda_http_core::reply::Reply;
use keda_http_runtime::readiness::Readiness;
use tokio::time::Instant;

use crate::backends::Backend;
use crate::body::{RequestBody, ResponseBody, Sent};
use crate::client::Client;
use crate::error::{ProxyError, is_grpc};
use crate::metrics::{ColdStartOutcome, Metrics};
use crate::record::Record;
use crate::replay::Replay;
use crate::routing::{BoundRoute, Routes};
use crate::spans::Spans;
use crate::upstream::headers::{self, COLD_START};
use crate::upstream::upgrade::{Pipes, Upgrade};
use crate::upstream::{ConnectError, ConnectStages, Connection, Upstream};

/// What one worker handles requests with.
pub struct Proxy {
    /// The routes, as they are now.
    pub routes: Routes,
    /// The way to endpoints.
    pub upstream: Upstream,
    /// Whether to tell clients that they waited.
    pub cold_start_header: bool,
    /// Whether to log each request.
    pub log_requests: bool,
    /// Instruments.
    pub metrics: Metrics,
    /// Spans, when tracing is on.
    pub spans: Option<Spans>,
    /// Tells when the process drains.
    pub readiness: Readiness,
    /// Where upgraded connections go.
    pub pipes: Pipes,
}

impl Proxy {
    /// Answers a request. Never fails: what goes wrong is an answer too.
    pub async fn handle(&self, client: &Client, request: Request<Incoming>) -> Response<ResponseBody> {
        let http1 = request.version() < Version::HTTP_2;
        let may_switch = headers::wants_upgrade(&request);
        let mut response = self.answer(client, request).await;
        let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        // Behind a refused upgrade the client may have sent anything; it is never read as HTTP.
        if http1 && !switched && (may_switch || self.readiness.is_draining()) {
            response
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    async fn answer(&self, client: &Client, mut request: Request<Incoming>) -> Response<ResponseBody> {
        let is_grpc = is_grpc(request.headers());
        let mut span = self.spans.as_ref().and_then(|spans| spans.begin(&request));
        let route = match self.route(&mut request) {
            Ok(route) => route,
            Err(error) => {
                let record = Record::begin(self.metrics.unmatched(), request.method(), None, span);
                return self.refuse(&error, record, is_grpc);
            }
        };
        if let Some(reply) = route.reply(request.uri().path()) {
            return own_reply(reply);
        }
        if let Some(span) = &mut span {
            span.routed(route.key.namespace(), route.key.name(), &route.upstream.service.service);
        }
        let mut record = Record::begin(
            route.metrics.clone(),
            request.method(),
            Some(route.target.enter()),
            span,
        );
        if self.log_requests {
            record.log(client.peer, &request);
        }
        match self.forward(&route, client, request, &mut record).await {
            Ok(forwarded) => self.respond(forwarded, record),
            Err(error) => self.refuse(&error, record, is_grpc),
        }
    }

    fn route(&self, request: &mut Request<Incoming>) -> Result<Arc<BoundRoute>, ProxyError> {
        headers::settle_host(request)?;
        let host = request
            .headers()
            .get(header::HOST)
            .and_then(|host| host.to_str().ok())
            .unwrap_or_default();
        let live = self.routes.are_live();
        let routes = self.routes.load();
        let found = routes.find(host, request.uri().path(), request.headers());
        match found.cloned() {
            Some(route) => Ok(route),
            None if live => Err(ProxyError::NoRoute { host: host.to_owned() }),
            None => Err(ProxyError::Starting),
        }
    }

    /// Sends the request to an endpoint of the route, waiting for one when there is none. What was not sent is sent
    /// again; what may have been seen is not, unless it is safe to be seen twice.
    async fn forward(
        &self,
        route: &BoundRoute,
        client: &Client,
        mut request: Request<Incoming>,
        record: &mut Record,
    ) -> Result<Forwarded, ProxyError> {
        let deadline = route.deadline(request.headers());
        let upgrade = Upgrade::take(&mut request);
        headers::remove_hop_by_hop(request.headers_mut());
        headers::add_forwarded(request.headers_mut(), &client.facts);
        if let Some(upgrade) = &upgrade {
            upgrade.ask(request.headers_mut());
        }
        let mut request = request.map(RequestBody::new);
        let mut attempts = Attempts::default();
        loop {
            let mut connection = match self.upstream.at_hand(&route.upstream) {
                Some(connection) => connection,
                None => Box::pin(self.connect(route, client, &request, record, deadline)).await?,
            };
            record.connected();
            headers::fit_protocol(&mut request, connection.protocol());
            if let Some(span) = record.span() {
                span.call(&request.method().clone(), connection.address(), request.headers_mut());
            }
            let replay = Replay::of(&request, &connection);
            let error = match exchange(&mut connection, request, route.response_header, deadline).await {
                Ok(response) => {
                    return Ok(Forwarded {
                        response,
                        connection,
                        upgrade,
                        deadline,
                    });
                }
                Err(error) => error,
            };
            if let Some(span) = record.span() {
                span.call_failed(&error.to_string());
            }
            request = attempts.again(error, replay)?;
            self.metrics.replays.inc();
            attempts.pause().await;
        }
    }

    /// The cold path: waits for an endpoint that can be reached, the fallback's when the route's own is too late.
    async fn connect(
        &self,
        route: &BoundRoute,
        client: &Client,
        request: &Request<RequestBody>,
        record: &mut Record,
        deadline: Option<Instant>,
    ) -> Result<Connection, ProxyError> {
        let began = Instant::now();
        let ready_by = earliest(route.readiness.map(|limit| began + limit), deadline);
        let mut stages = ConnectStages::default();
        let connecting = self.connect_either(route, record, ready_by, deadline, &mut stages);
        let unread_body = !request.body().is_empty() && request.version() < Version::HTTP_2;
        let connected = if unread_body {
            tokio::select! {
                connected = connecting => connected,
                () = client.gone() => Err(ProxyError::ClientGone),
            }
        } else {
            connecting.await
        };
        self.metrics.dial_failures.inc_by(stages.attempts.into());
        if let Some(held) = stages.held {
            self.note_hold(route, record, held, &stages, connected.as_ref().err());
        }
        connected
    }

    async fn connect_either(
        &self,
        route: &BoundRoute,
        record: &Record,
        ready_by: Option<Instant>,
        deadline: Option<Instant>,
        stages: &mut ConnectStages,
    ) -> Result<Connection, ProxyError> {
        let own = self.connect_to(&route.upstream, record, ready_by, stages).await;
        let error = match (own, &route.fallback) {
            (Ok(connection), _) => return Ok(connection),
            (Err(_), Some(fallback)) if !is_past(deadline) => {
                stages.fallback = true;
                match self.connect_to(fallback, record, deadline, stages).await {
                    Ok(connection) => return Ok(connection),
                    Err(error) => error,
                }
            }
            (Err(error), _) => error,
        };
        if is_past(deadline) {
            return Err(ProxyError::RequestTimeout(record.elapsed()));
        }
        Err(ProxyError::connect(error, route.upstream.problem()))
    }

    async fn connect_to(
        &self,
        backend: &Backend,
        record: &Record,
        deadline: Option<Instant>,
        stages: &mut ConnectStages,
    ) -> Result<Connection, ConnectError> {
        self.upstream.connect(backend, record.pending(), deadline, stages).await
    }

    /// A hold has ended: measured, and told as a span.
    fn note_hold(
        &self,
        route: &BoundRoute,
        record: &mut Record,
        held: Instant,
        stages: &ConnectStages,
        error: Option<&ProxyError>,
    ) {
        record.cold(stages.fallback);
        let outcome = match error {
            None => ColdStartOutcome::ready,
            Some(ProxyError::ClientGone) => ColdStartOutcome::cancelled,
            Some(_) => ColdStartOutcome::timeout,
        };
        route.metrics.observe_cold_start(outcome, held.elapsed());
        let signalled = record.pending().and_then(crate::pending::Pending::signalled);
        if let Some(span) = record.span() {
            span.waited(held.into_std(), signalled, stages, error.map(ToString::to_string));
        }
    }

    fn respond(&self, forwarded: Forwarded, mut record: Record) -> Response<ResponseBody> {
        let Forwarded {
            mut response,
            connection,
            upgrade,
            deadline,
        } = forwarded;
        let status = response.status();
        record.answered(status);
        *response.version_mut() = Version::HTTP_11;
        self.mark_cold_start(&mut response, &record);
        if status == StatusCode::SWITCHING_PROTOCOLS
            && let Some(upgrade) = upgrade
        {
            upgrade.join(&mut response, connection, record, &self.pipes);
            return response.map(|_| ResponseBody::own(""));
        }
        headers::remove_hop_by_hop(response.headers_mut());
        response.map(|body| ResponseBody::upstream(body, connection, deadline).recorded(record))
    }

    fn refuse(&self, error: &ProxyError, mut record: Record, is_grpc: bool) -> Response<ResponseBody> {
        tracing::debug!(%error, source = ?error.source(), status = error.status().as_u16(), "request not forwarded");
        let mut response = error.response(is_grpc);
        record.answered(error.status());
        self.mark_cold_start(&mut response, &record);
        if matches!(error, ProxyError::BadBody(_) | ProxyError::Invalid(_)) {
            // What follows a request that could not be understood is not taken for another one.
            response
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response.map(|body| body.recorded(record))
    }

    /// Set on everything that got as far as an endpoint of the route itself, as upstream.
    fn mark_cold_start<B>(&self, response: &mut Response<B>, record: &Record) {
        if let (true, Some(cold)) = (self.cold_start_header, record.reached_upstream()) {
            let value = HeaderValue::from_static(if cold { "true" } else { "false" });
            response.headers_mut().insert(COLD_START, value);
        }
    }
}

/// A request that an endpoint has answered.
struct Forwarded {
    response: Response<Incoming>,
    connection: Connection,
    upgrade: Option<Upgrade>,
    deadline: Option<Instant>,
}

fn own_reply(reply: &Reply) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::own(""));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::OK);
    response
}

/// One request over one connection, up to the response's head.
async fn exchange(
    connection: &mut Connection,
    request: Request<RequestBody>,
    response_header: Option<Duration>,
    deadline: Option<Instant>,
) -> Result<Response<Incoming>, ExchangeError> {
    let upload = request.body().sent();
    // Pinned once and lent from here on: what is moved about here is moved for every request.
    let mut sending = pin!(connection.send(request));
    if let (Some(upload), Some(limit)) = (upload, response_header) {
        return Box::pin(exchange_upload(sending, &upload, limit, deadline)).await;
    }
    let header_by = response_header.map(|limit| Instant::now() + limit);
    let answered = match earliest(header_by, deadline) {
        Some(at) => tokio::time::timeout_at(at, sending.as_mut()).await,
        None => Ok(sending.await),
    };
    match (answered, response_header) {
        (Ok(answered), _) => answered.map_err(ExchangeError::of),
        (Err(_), Some(limit)) if !is_past(deadline) => Err(ExchangeError::Late(limit)),
        (Err(_), _) => Err(ExchangeError::Deadline),
    }
}

/// The same with a request body: the limit counts from its end, so that a long upload is no slow answer.
async fn exchange_upload(
    sending: Pin<&mut impl Future<Output = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>>>,
    upload: &Sent,
    limit: Duration,
    deadline: Option<Instant>,
) -> Result<Response<Incoming>, ExchangeError> {
    let late = async {
        upload.wait().await;
        tokio::time::sleep(limit).await;
    };
    let past = async {
        match deadline {
            Some(deadline) => tokio::time::sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        answered = sending => answered.map_err(ExchangeError::of),
        () = late => Err(ExchangeError::Late(limit)),
        () = past => Err(ExchangeError::Deadline),
    }
}

/// Why an exchange gave no response.
enum ExchangeError {
    /// The connection was closed before it took the request: here it is again.
    Unsent(Box<Request<RequestBody>>),
    Broken(hyper::Error),
    /// No response header within this time.
    Late(Duration),
    /// The whole request's deadline has passed.
    Deadline,
}

impl ExchangeError {
    fn of(mut error: TrySendError<Request<RequestBody>>) -> Self {
        match error.take_message() {
            Some(request) => Self::Unsent(Box::new(request)),
            None => Self::Broken(error.into_error()),
        }
    }
}

impl std::fmt::Display for ExchangeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unsent(_) => f.write_str("the connection closed before the request was sent"),
            Self::Broken(error) => write!(f, "the connection broke: {error}"),
            Self::Late(limit) => write!(f, "no response header within {limit:?}"),
            Self::Deadline => f.write_str("the request's deadline has passed"),
        }
    }
}

/// How often a request was tried.
struct Attempts {
    began: Instant,
    broken: u32,
    unsent: u32,
}

impl Default for Attempts {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            broken: 0,
            unsent: 0,
        }
    }
}

impl Attempts {
    /// Requests that were sent and not answered are sent again this often, when that is safe.
    const REPLAYS: u32 = 3;
    /// For how long connections that close before they take anything are put up with.
    const UNSENT_LIMIT: Duration = Duration::from_secs(60);

    /// The request for the next attempt, or the error that ends it.
    fn again(&mut self, error: ExchangeError, replay: Option<Replay>) -> Result<Request<RequestBody>, ProxyError> {
        match error {
            ExchangeError::Unsent(request) if self.began.elapsed() < Self::UNSENT_LIMIT => {
                self.unsent += 1;
                Ok(*request)
            }
            ExchangeError::Unsent(_) => Err(ProxyError::Exhausted(self.unsent)),
            ExchangeError::Late(limit) => Err(ProxyError::ResponseHeaderTimeout(limit)),
            ExchangeError::Deadline => Err(ProxyError::RequestTimeout(self.began.elapsed())),
            ExchangeError::Broken(error) if error.is_user() => Err(ProxyError::BadBody(error)),
            ExchangeError::Broken(error) => {
                self.broken += 1;
                replay
                    .filter(|_| self.broken <= Self::REPLAYS)
                    .map(Replay::request)
                    .ok_or(ProxyError::Broken(error))
            }
        }
    }

    /// The first new attempt is made at once, later ones after a short jittered pause.
    async fn pause(&self) {
        let tries = self.broken + self.unsent;
        if tries > 1 {
            let longest = 1_000_usize << tries.min(6);
            let micros = longest / 2 + crate::backends::random_below(longest / 2);
            tokio::time::sleep(Duration::from_micros(micros as u64)).await;
        }
    }
}

fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

fn is_past(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| deadline <= Instant::now())
}
