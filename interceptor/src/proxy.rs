//! One request, from top to bottom: its route, its wait, its connection, its response.
//!
//! Results are values and what must happen at the end is owned: a client that goes away drops the future, and with it
//! the pending count, the wait and the call to the endpoint.

pub(crate) mod deadline;
pub(crate) mod error;
mod exchange;
pub(crate) mod headers;
pub(crate) mod record;
pub(crate) mod response_body;
mod response_head;
mod retry;
pub(crate) mod routes;
pub(crate) mod session;
pub(crate) mod static_response;
mod target;
pub(crate) mod upgrade;

use std::pin::pin;
use std::sync::Arc;

use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;
use keda_http_core::route::reply::When;
use keda_http_runtime::readiness::Readiness;
use tokio::time::Instant;

use crate::counters::pending::Pending;
use crate::inbound::client::Client;
use crate::inbound::content_length;
use crate::proxy::deadline::{earliest, is_past};
use crate::proxy::error::{ProxyError, is_grpc};
use crate::proxy::exchange::{ExchangeError, Limits, exchange};
use crate::proxy::headers::{COLD_START, InvalidRequest};
use crate::proxy::record::Record;
use crate::proxy::response_body::ResponseBody;
use crate::proxy::response_head::BadResponse;
use crate::proxy::retry::{HeadCopy, Retries};
use crate::proxy::routes::{BoundRoute, Routes};
use crate::proxy::session::Sticky;
use crate::proxy::static_response::{BoundResponse, has_body};
use crate::proxy::upgrade::{Pipes, Upgrade};
use crate::telemetry::metrics::{ColdStartOutcome, Metrics};
use crate::telemetry::spans::{RequestSpan, Spans};
use crate::upstream::connection::Connection;
use crate::upstream::request_body::{ReadAhead, RequestBody};
use crate::upstream::{ConnectError, ConnectStages, Connected, Hold, Needs, Upstream, Wanted};

/// Handles the requests of one worker.
pub(crate) struct Proxy {
    pub(crate) routes: Routes,
    pub(crate) upstream: Upstream,
    /// Whether responses say if the request waited.
    pub(crate) cold_start_header: bool,
    pub(crate) log_requests: bool,
    pub(crate) metrics: Metrics,
    /// `None` when tracing is off.
    pub(crate) spans: Option<Spans>,
    pub(crate) readiness: Readiness,
    pub(crate) pipes: Pipes,
    pub(crate) read_ahead: ReadAhead,
}

impl Proxy {
    /// Answers a request. Every error becomes a response.
    pub(crate) async fn handle(&self, client: &Client, request: Request<Incoming>) -> Response<ResponseBody> {
        let http1 = request.version() < Version::HTTP_2;
        let may_switch = client.asks_for_upgrade();
        let head = request.method() == Method::HEAD;
        let mut response = self.answer(client, request).await;
        let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        if switched {
            client.observed.switch();
        }
        // Behind a refused upgrade the client may have sent anything; it is never read as HTTP.
        if http1 && !switched && (may_switch || self.readiness.is_draining()) {
            response
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if http1 && response.status() == StatusCode::NOT_MODIFIED {
            let length = response.headers().get(header::CONTENT_LENGTH);
            if let Some(length) = length.and_then(|length| content_length::parse(length.as_bytes())) {
                response.body_mut().announce(length);
            }
        }
        if head
            && let Some(length) = response.body_mut().withhold()
            && has_body(response.status())
        {
            response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
        }
        response
    }

    async fn answer(&self, client: &Client, request: Request<Incoming>) -> Response<ResponseBody> {
        let is_grpc = is_grpc(request.headers());
        let mut request = RequestBody::wrap(request);
        let route = match self.route(client, &mut request) {
            Ok(route) => route,
            Err(error) => {
                let span = self.begin_span(&request);
                let mut record = Record::begin(self.metrics.unmatched(), request.method(), None, span);
                self.log(&mut record, client, &request);
                return self.refuse(&error.into(), record, is_grpc);
            }
        };
        let reply = route.reply(&request);
        let mut record = self.begin(&route, reply.is_none(), client, &request);
        if let Some(reply) = reply.filter(|reply| reply.when == When::Always) {
            return self.respond_locally(&reply.response, request.uri().path(), record, is_grpc);
        }
        let path: Option<Box<str>> = route.has_own_answers().then(|| request.uri().path().into());
        match self.forward(&route, client, request, &mut record).await {
            Ok(forwarded) => self.respond(forwarded, record),
            Err(failed) => match route.local_response(&failed.error, reply) {
                Some(own) => self.respond_locally(own, path.as_deref().unwrap_or_default(), record, is_grpc),
                None => self.refuse(&failed, record, is_grpc),
            },
        }
    }

    /// A request of a route begins; with `counts` it is pending from now on.
    fn begin(&self, route: &BoundRoute, counts: bool, client: &Client, request: &Request<RequestBody>) -> Record {
        let mut span = self.begin_span(request);
        if let Some(span) = &mut span {
            span.set_route(route.key.namespace(), route.key.name(), &route.upstream.service.service);
        }
        let pending = counts.then(|| route.target.enter());
        let mut record = Record::begin(route.metrics.clone(), request.method(), pending, span);
        self.log(&mut record, client, request);
        record
    }

    fn begin_span(&self, request: &Request<RequestBody>) -> Option<Box<RequestSpan>> {
        self.spans.as_ref().and_then(|spans| spans.begin(request))
    }

    fn log(&self, record: &mut Record, client: &Client, request: &Request<RequestBody>) {
        if self.log_requests {
            record.log(client.peer, request);
        }
    }

    fn route(&self, client: &Client, request: &mut Request<RequestBody>) -> Result<Arc<BoundRoute>, ProxyError> {
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

    /// Sends the request to an endpoint of the route, waiting for one when there is none, until it has a response.
    async fn forward(
        &self,
        route: &BoundRoute,
        client: &Client,
        mut request: Request<RequestBody>,
        record: &mut Record,
    ) -> Result<Forwarded, Failed> {
        let counts = record.pending().is_some();
        let session = route.session.as_deref().filter(|_| counts);
        let session = session.map(|session| Sticky::new(session, request.headers(), client));
        let http1 = request.version() < Version::HTTP_2;
        let endpoint = session.as_ref().and_then(|session| session.named_endpoint);
        let mut needs = Needs::new(endpoint, !http1 && is_grpc(request.headers()));
        let deadline = route.deadline(request.headers());
        let upgrade = client
            .asks_for_upgrade()
            .then(|| Upgrade::from_request(&mut request))
            .flatten();
        fit_headers(&mut request, upgrade.as_ref(), client)?;
        let limits = Limits {
            deadline,
            response_header: route.response_header,
            client: http1.then_some(client),
            has_body: !request.body().is_empty(),
        };
        let mut retries = Retries::default();
        let mut reached = false;
        loop {
            let (mut connection, fallback) = match self.upstream.idle_connection(&route.upstream, needs) {
                Some(connection) => (connection, false),
                None => Box::pin(self.connect(route, record, limits, needs, request.body_mut()))
                    .await
                    .map_err(|error| Failed { error, reached })?,
            };
            reached = counts && !fallback;
            headers::fit_protocol(&mut request, connection.protocol())?;
            if let Some(span) = record.span() {
                span.begin_call(&request.method().clone(), connection.address(), request.headers_mut());
            }
            let copy = HeadCopy::new(&request);
            let error = match exchange(&mut connection, request, limits).await {
                Ok(mut response) => {
                    connection.reinstate_endpoint();
                    if let Some(session) = session.filter(|_| reached) {
                        session.add_cookie(connection.endpoint(), response.headers_mut());
                    }
                    return Ok(Forwarded {
                        response,
                        connection,
                        upgrade,
                        deadline,
                        reached,
                    });
                }
                Err(error) => error,
            };
            note_failed_call(&error, route, record, &connection);
            request = retries
                .next_request(error, copy, record)
                .map_err(|error| Failed { error, reached })?;
            needs.new = retries.need_new_connection();
            self.metrics.replays.inc();
            retries.pause().await;
        }
    }

    /// The cold path: waits for an endpoint that can be reached. The flag is whether it is one of the fallback's.
    async fn connect(
        &self,
        route: &BoundRoute,
        record: &mut Record,
        limits: Limits<'_>,
        needs: Needs,
        body: &mut RequestBody,
    ) -> Result<(Connection, bool), ProxyError> {
        // Counted from the arrival: a second attempt has no second budget.
        let ready_by = route.readiness.map(|limit| record.arrived() + limit);
        let own = Wanted {
            backend: &route.upstream,
            hold: route.hold(record.pending()),
            needs,
            deadline: earliest(ready_by, limits.deadline),
        };
        let fallback = route.fallback.as_deref().map(|backend| Wanted {
            backend,
            hold: record
                .pending()
                .map_or(Hold::Never, |pending| Hold::Among(pending, None)),
            needs: Needs::new(None, needs.http2),
            deadline: limits.deadline,
        });
        // Pinned here, since a future that is passed on is in memory twice.
        let abandoned = pin!(async {
            tokio::select! {
                () = limits.client_gone() => ConnectError::ClientGone,
                () = self.pipes.cut.cancelled() => ConnectError::Draining,
                () = body.read_ahead(&self.read_ahead) => ConnectError::ClientGone,
            }
        });
        let Connected { connection, stages } = self.upstream.connect(own, fallback, abandoned).await;
        self.note_wait(route, record, &stages, connection.as_ref().err());
        match connection {
            Ok(connection) => Ok((connection, stages.fallback)),
            Err(ConnectError::NotReady(_) | ConnectError::Unreachable { .. }) if is_past(limits.deadline) => {
                Err(ProxyError::RequestTimeout(record.elapsed()))
            }
            Err(error) => Err(ProxyError::from_connect(error, route.upstream.problem())),
        }
    }

    /// Measures what the cold path went through, and adds it to the request's spans.
    fn note_wait(&self, route: &BoundRoute, record: &mut Record, stages: &ConnectStages, error: Option<&ConnectError>) {
        self.metrics.dial_failures.inc_by(stages.attempts.into());
        if let Some(ConnectError::TooManyPending) = error {
            route.metrics.reject();
        }
        let Some(held) = stages.held else {
            return;
        };
        record.mark_cold();
        let outcome = match error {
            None => ColdStartOutcome::ready,
            Some(ConnectError::ClientGone) => ColdStartOutcome::cancelled,
            Some(_) => ColdStartOutcome::timeout,
        };
        route.metrics.observe_cold_start(outcome, held.elapsed());
        let signalled = record.pending().and_then(Pending::signalled);
        let arrived = record.arrived().into_std();
        if let Some(span) = record.span() {
            span.add_wait(arrived, signalled, stages, error.map(ToString::to_string));
        }
    }

    fn respond(&self, forwarded: Forwarded, mut record: Record) -> Response<ResponseBody> {
        let Forwarded {
            mut response,
            connection,
            upgrade,
            deadline,
            reached,
        } = forwarded;
        let status = response.status();
        record.set_status(status);
        *response.version_mut() = Version::HTTP_11;
        self.mark_cold_start(&mut response, reached, &record);
        if status == StatusCode::SWITCHING_PROTOCOLS {
            let Some(upgrade) = upgrade.filter(|upgrade| upgrade.accept(response.headers_mut())) else {
                return self.refuse(
                    &Failed {
                        error: ProxyError::UnaskedUpgrade,
                        reached,
                    },
                    record,
                    false,
                );
            };
            upgrade.start_tunnel(&mut response, connection, record, &self.pipes);
            return response.map(|_| ResponseBody::local(""));
        }
        headers::remove_hop_by_hop(response.headers_mut());
        response.map(|body| ResponseBody::upstream(body, connection, deadline).recorded(record))
    }

    /// Responds with a body of the route's own. It has no cold-start header, since no endpoint was reached.
    fn respond_locally(
        &self,
        own: &BoundResponse,
        path: &str,
        mut record: Record,
        is_grpc: bool,
    ) -> Response<ResponseBody> {
        match own.respond(path) {
            Ok(response) => {
                record.set_status(response.status());
                response.map(|body| body.recorded(record))
            }
            Err(error) => self.refuse(&error.into(), record, is_grpc),
        }
    }

    fn refuse(&self, failed: &Failed, mut record: Record, is_grpc: bool) -> Response<ResponseBody> {
        let error = &failed.error;
        let (source, status) = (error.source(), error.status().as_u16());
        if matches!(error, ProxyError::BadResponse(_)) {
            tracing::info!(%error, "a response was not passed on");
        } else {
            tracing::debug!(%error, ?source, status, "request not forwarded");
        }
        let mut response = error.response(is_grpc);
        record.set_status(error.status());
        self.mark_cold_start(&mut response, failed.reached, &record);
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

    /// Set on every response to a request that reached an endpoint of the route itself, as in the Go add-on.
    fn mark_cold_start<B>(&self, response: &mut Response<B>, reached: bool, record: &Record) {
        if self.cold_start_header && reached {
            let value = HeaderValue::from_static(if record.is_cold() { "true" } else { "false" });
            response.headers_mut().insert(COLD_START, value);
        }
    }
}

/// Gives the request the headers that an endpoint is to see, before its protocol is known.
fn fit_headers(
    request: &mut Request<RequestBody>,
    upgrade: Option<&Upgrade>,
    client: &Client,
) -> Result<(), InvalidRequest> {
    headers::remove_hop_by_hop(request.headers_mut());
    headers::add_forwarded(request.headers_mut(), &client.facts)?;
    if let Some(upgrade) = upgrade {
        upgrade.add_to(request.headers_mut());
    }
    Ok(())
}

/// Ends the span of a call that gave no response, and ejects the endpoint when it is to blame.
fn note_failed_call(error: &ExchangeError, route: &BoundRoute, record: &mut Record, connection: &Connection) {
    if let Some(span) = record.span() {
        span.fail_call(&error.to_string());
    }
    if matches!(error, ExchangeError::BadResponse(BadResponse::TooLarge)) {
        connection.expect_large_heads();
    }
    let limit_passed = route.request.is_some_and(|limit| record.elapsed() >= limit);
    if error.blames_endpoint(connection.is_reused(), limit_passed) {
        connection.eject_endpoint();
    }
}

/// A request that an endpoint has answered.
struct Forwarded {
    response: Response<Incoming>,
    connection: Connection,
    upgrade: Option<Upgrade>,
    deadline: Option<Instant>,
    /// Whether the endpoint is one of the route's own upstream, and the request counts.
    reached: bool,
}

/// A request that no endpoint has answered.
struct Failed {
    error: ProxyError,
    /// Whether a request that counts was sent to the route's own upstream.
    reached: bool,
}

impl<E: Into<ProxyError>> From<E> for Failed {
    /// A request that was not sent.
    fn from(error: E) -> Self {
        Self {
            error: error.into(),
            reached: false,
        }
    }
}
