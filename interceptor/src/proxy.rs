//! THE request, from top to bottom: its route, its turn, its connection, its answer.
//!
//! Results are values and what must happen at the end is owned: a client that goes away drops the future, and with it
//! the pending count, the wait and the call to the endpoint.

pub(crate) mod deadline;
pub mod error;
mod exchange;
pub mod headers;
pub mod record;
pub(crate) mod response_body;
mod retry;
pub(crate) mod routes;
pub mod session;
pub mod static_response;
mod target;
pub mod upgrade;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;
use keda_http_core::reply::When;
use keda_http_core::session::EndpointId;
use keda_http_runtime::readiness::Readiness;
use tokio::time::Instant;

use crate::counters::pending::Pending;
use crate::inbound::client::Client;
use crate::proxy::deadline::{earliest, is_past};
use crate::proxy::error::{ProxyError, is_grpc};
use crate::proxy::exchange::exchange;
use crate::proxy::headers::COLD_START;
use crate::proxy::record::Record;
use crate::proxy::response_body::ResponseBody;
use crate::proxy::retry::{Attempts, Replay};
use crate::proxy::routes::{BoundRoute, Routes};
use crate::proxy::session::Sticky;
use crate::proxy::static_response::{BoundResponse, has_body};
use crate::proxy::upgrade::{Pipes, Upgrade};
use crate::telemetry::metrics::{ColdStartOutcome, Metrics};
use crate::telemetry::spans::{RequestSpan, Spans};
use crate::upstream::connection::Connection;
use crate::upstream::request_body::RequestBody;
use crate::upstream::{ConnectError, ConnectStages, Hold, Upstream, Wanted};

/// How long a fallback that is not ready either is waited for; the route's own budget is spent by then.
const FALLBACK_LIMIT: Duration = Duration::from_secs(30);

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
        let may_switch = client.asks_for_upgrade();
        let head = request.method() == Method::HEAD;
        let mut response = self.answer(client, request).await;
        let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        // Behind a refused upgrade the client may have sent anything; it is never read as HTTP.
        if http1 && !switched && (may_switch || self.readiness.is_draining()) {
            response
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if head
            && let Some(length) = response.body_mut().withhold()
            && has_body(response.status())
        {
            response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
        }
        response
    }

    async fn answer(&self, client: &Client, mut request: Request<Incoming>) -> Response<ResponseBody> {
        let is_grpc = is_grpc(request.headers());
        let route = match self.route(client, &mut request) {
            Ok(route) => route,
            Err(error) => {
                let span = self.begin_span(&request);
                let mut record = Record::begin(self.metrics.unmatched(), request.method(), None, span);
                self.log(&mut record, client, &request);
                return self.refuse(&error, record, is_grpc);
            }
        };
        let reply = route.reply(&request);
        let mut record = self.begin(&route, reply.is_none(), client, &request);
        if let Some(reply) = reply.filter(|reply| reply.when == When::Always) {
            return self.give(&reply.response, request.uri().path(), record, is_grpc);
        }
        let path: Option<Box<str>> = route.has_own_answers().then(|| request.uri().path().into());
        match self.forward(&route, client, request, &mut record).await {
            Ok(forwarded) => self.respond(forwarded, record),
            Err(error) => match route.instead(&error, reply) {
                Some(own) => self.give(own, path.as_deref().unwrap_or_default(), record, is_grpc),
                None => self.refuse(&error, record, is_grpc),
            },
        }
    }

    /// A request of a route begins; with `counts` it is pending from now on.
    fn begin(&self, route: &BoundRoute, counts: bool, client: &Client, request: &Request<Incoming>) -> Record {
        let mut span = self.begin_span(request);
        if let Some(span) = &mut span {
            span.routed(route.key.namespace(), route.key.name(), &route.upstream.service.service);
        }
        let pending = counts.then(|| route.target.enter());
        let mut record = Record::begin(route.metrics.clone(), request.method(), pending, span);
        self.log(&mut record, client, request);
        record
    }

    fn begin_span(&self, request: &Request<Incoming>) -> Option<Box<RequestSpan>> {
        self.spans.as_ref().and_then(|spans| spans.begin(request))
    }

    fn log(&self, record: &mut Record, client: &Client, request: &Request<Incoming>) {
        if self.log_requests {
            record.log(client.peer, request);
        }
    }

    fn route(&self, client: &Client, request: &mut Request<Incoming>) -> Result<Arc<BoundRoute>, ProxyError> {
        target::settle(request, || client.local())?;
        let host = request
            .headers()
            .get(header::HOST)
            .and_then(|host| host.to_str().ok())
            .unwrap_or_default();
        let live = self.routes.are_live();
        let (path, fields) = (request.uri().path(), request.headers());
        let found = match &client.scope {
            None => self.routes.load().find(host, path, fields).cloned(),
            Some(scope) => self.routes.find_autowired(scope, host, path, fields),
        };
        match found {
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
        let http1 = request.version() < Version::HTTP_2;
        let session = route.session.as_deref().filter(|_| record.pending().is_some());
        let session = Sticky::of(session, request.headers(), client);
        let preferred = session.as_ref().and_then(|session| session.asked);
        let upgrade = client.asks_for_upgrade().then(|| Upgrade::take(&mut request)).flatten();
        headers::remove_hop_by_hop(request.headers_mut());
        headers::add_forwarded(request.headers_mut(), &client.facts)?;
        if let Some(upgrade) = &upgrade {
            upgrade.ask(request.headers_mut());
        }
        let mut request = request.map(RequestBody::new);
        // Only of HTTP/1.1 clients the leaving goes unnoticed, and only while their body is not read.
        let client = (http1 && !request.body().is_empty()).then_some(client);
        let mut attempts = Attempts::default();
        let mut connected_at = None;
        loop {
            let mut connection = match self.upstream.at_hand(&route.upstream, preferred) {
                Some(connection) => connection,
                None => Box::pin(self.connect(route, client, record, preferred, deadline)).await?,
            };
            record.connected();
            headers::fit_protocol(&mut request, connection.protocol());
            if let Some(span) = record.span() {
                span.call(&request.method().clone(), connection.address(), request.headers_mut());
            }
            let replay = Replay::of(&request, &connection);
            let error = match exchange(&mut connection, request, route.response_header, deadline, client).await {
                Ok(mut response) => {
                    connection.answered();
                    if let (Some(session), Some(_)) = (&session, record.reached_upstream()) {
                        session.keep(connection.endpoint(), response.headers_mut());
                    }
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
            if error.is_the_endpoints(route.request.is_some_and(|limit| record.elapsed() >= limit)) {
                connection.failed();
            }
            let connected = connected_at.get_or_insert_with(Instant::now).elapsed();
            request = attempts.again(error, replay, record, connected)?;
            self.metrics.replays.inc();
            attempts.pause().await;
        }
    }

    /// The cold path: waits for an endpoint that can be reached, the fallback's when the route's own is too late.
    async fn connect(
        &self,
        route: &BoundRoute,
        client: Option<&Client>,
        record: &mut Record,
        preferred: Option<EndpointId>,
        deadline: Option<Instant>,
    ) -> Result<Connection, ProxyError> {
        // Counted from the arrival: a second attempt has no second budget.
        let ready_by = earliest(route.readiness.map(|limit| record.arrived() + limit), deadline);
        let mut stages = ConnectStages::default();
        let own = Wanted {
            backend: &route.upstream,
            hold: route.hold(record.pending()),
            preferred,
            deadline: ready_by,
        };
        let connecting = self.connect_either(route, record, own, deadline, &mut stages);
        let gone = async {
            match client {
                Some(client) => client.gone().await,
                None => std::future::pending().await,
            }
        };
        let connected = tokio::select! {
            connected = connecting => connected,
            () = gone => Err(ProxyError::ClientGone),
            () = self.pipes.cut.cancelled() => Err(ProxyError::Draining),
        };
        self.metrics.dial_failures.inc_by(stages.attempts.into());
        if let Err(ProxyError::TooManyPending) = connected {
            route.metrics.reject();
        }
        record.fell_back(stages.fallback);
        if let Some(held) = stages.held {
            self.note_hold(route, record, held, &stages, connected.as_ref().err());
        }
        connected
    }

    async fn connect_either(
        &self,
        route: &BoundRoute,
        record: &Record,
        own: Wanted<'_>,
        deadline: Option<Instant>,
        stages: &mut ConnectStages,
    ) -> Result<Connection, ProxyError> {
        let error = match (self.upstream.connect(own, stages).await, &route.fallback) {
            (Ok(connection), _) => return Ok(connection),
            (Err(error @ (ConnectError::Unavailable | ConnectError::TooManyPending)), _) => {
                return Err(ProxyError::connect(error, None));
            }
            (Err(_), Some(fallback)) if !is_past(deadline) => {
                stages.fallback = true;
                let spare = Wanted {
                    backend: fallback,
                    hold: record
                        .pending()
                        .map_or(Hold::Never, |pending| Hold::Among(pending, None)),
                    preferred: None,
                    deadline: earliest(Some(Instant::now() + FALLBACK_LIMIT), deadline),
                };
                match self.upstream.connect(spare, stages).await {
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

    /// A hold has ended: measured, and told as a span.
    fn note_hold(
        &self,
        route: &BoundRoute,
        record: &mut Record,
        held: Instant,
        stages: &ConnectStages,
        error: Option<&ProxyError>,
    ) {
        record.cold();
        let outcome = match error {
            None => ColdStartOutcome::ready,
            Some(ProxyError::ClientGone) => ColdStartOutcome::cancelled,
            Some(_) => ColdStartOutcome::timeout,
        };
        route.metrics.observe_cold_start(outcome, held.elapsed());
        let arrived = record.pending().map_or(record.arrived().into_std(), Pending::arrived);
        let signalled = record.pending().and_then(Pending::signalled);
        if let Some(span) = record.span() {
            span.waited(arrived, signalled, stages, error.map(ToString::to_string));
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
        if status == StatusCode::SWITCHING_PROTOCOLS {
            let Some(upgrade) = upgrade else {
                return self.refuse(&ProxyError::UnaskedUpgrade, record, false);
            };
            upgrade.join(&mut response, connection, record, &self.pipes);
            return response.map(|_| ResponseBody::own(""));
        }
        headers::remove_hop_by_hop(response.headers_mut());
        response.map(|body| ResponseBody::upstream(body, connection, deadline).recorded(record))
    }

    /// Answers by ourselves. Nobody is told whether it waited: it has reached no endpoint.
    fn give(&self, own: &BoundResponse, path: &str, mut record: Record, is_grpc: bool) -> Response<ResponseBody> {
        match own.respond(path) {
            Ok(response) => {
                record.answered(response.status());
                response.map(|body| body.recorded(record))
            }
            Err(error) => self.refuse(&error, record, is_grpc),
        }
    }

    fn refuse(&self, error: &ProxyError, mut record: Record, is_grpc: bool) -> Response<ResponseBody> {
        tracing::debug!(%error, source = ?error.source(), status = error.status().as_u16(), "request not forwarded");
        let mut response = error.response(is_grpc);
        record.answered(error.status());
        self.mark_cold_start(&mut response, &record);
        if matches!(
            error,
            ProxyError::BadBody(_) | ProxyError::Invalid(_) | ProxyError::UnaskedUpgrade
        ) {
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
