//! A copy of a request's head, kept where a request may have to be sent a second time.
//!
//! A request that may have been seen is only sent again when it is safe to be seen twice (RFC 9110 section 9.2.2) and
//! has no body. The copy is made where an unanswered send is likely: on a new connection, and on one that was idle long
//! enough for the endpoint to be closing it at this moment. Under load connections are idle for microseconds, and
//! nothing is copied.

use std::time::Duration;

use http::{Extensions, HeaderMap, Method, Request, Uri, Version};

use keda_http_kubernetes::endpoints::AppProtocol;

use crate::proxy::error::ProxyError;
use crate::proxy::exchange::ExchangeError;
use crate::proxy::record::Record;
use crate::upstream::connection::Connection;
use crate::upstream::request_body::RequestBody;

/// Servers close idle connections after seconds; one that was in use a moment ago is not being closed.
const SETTLED: Duration = Duration::from_millis(100);

/// The head of a request without a body.
pub(crate) struct Replay {
    method: Method,
    uri: Uri,
    version: Version,
    headers: HeaderMap,
}

impl Replay {
    /// The copy, when the request may be sent again and is likely to have to be.
    pub(crate) fn of(request: &Request<RequestBody>, connection: &Connection) -> Option<Self> {
        // A shared connection may be told to go away between any two requests.
        let exclusive = connection.protocol() == AppProtocol::Http1;
        let settled = exclusive && connection.idle().is_some_and(|idle| idle < SETTLED);
        let repeatable = request.method().is_idempotent() && request.body().is_empty();
        let upgrade = request.headers().contains_key(http::header::UPGRADE);
        (repeatable && !settled && !upgrade).then(|| Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            headers: request.headers().clone(),
        })
    }

    /// The request again.
    pub(crate) fn request(self) -> Request<RequestBody> {
        let mut request = Request::new(RequestBody::Empty);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.version_mut() = self.version;
        *request.headers_mut() = self.headers;
        *request.extensions_mut() = Extensions::new();
        request
    }
}

/// How often a request was tried.
#[derive(Default)]
pub(crate) struct Attempts {
    broken: u32,
    unsent: u32,
}

impl Attempts {
    /// Requests that were sent and not answered are sent again this often, when that is safe.
    const REPLAYS: u32 = 3;
    /// For a request that waited for its pod, a pod that resets is one that is not up yet, for this long.
    const COLD_REPLAYS: Duration = Duration::from_secs(10);
    /// For how long connections that close before they take anything are put up with.
    const UNSENT_LIMIT: Duration = Duration::from_secs(60);

    /// The request for the next attempt, or the error that ends it. `connected` is for how long connections have been had.
    pub(crate) fn again(
        &mut self,
        error: ExchangeError,
        replay: Option<Replay>,
        record: &Record,
        connected: Duration,
    ) -> Result<Request<RequestBody>, ProxyError> {
        match error {
            ExchangeError::Unsent(request) if connected < Self::UNSENT_LIMIT => {
                self.unsent += 1;
                Ok(*request)
            }
            ExchangeError::Unsent(_) => Err(ProxyError::Exhausted(self.unsent)),
            ExchangeError::Late(limit) => Err(ProxyError::ResponseHeaderTimeout(limit)),
            ExchangeError::Deadline => Err(ProxyError::RequestTimeout(record.elapsed())),
            ExchangeError::ClientGone => Err(ProxyError::ClientGone),
            ExchangeError::Broken(error) if error.is_user() => Err(ProxyError::BadBody(error)),
            ExchangeError::Broken(error) => {
                self.broken += 1;
                // An answer that cannot be read is an answer.
                let unanswered = !error.is_parse();
                let patience = self.broken <= Self::REPLAYS || (record.is_cold() && connected < Self::COLD_REPLAYS);
                replay
                    .filter(|_| unanswered && patience)
                    .map(Replay::request)
                    .ok_or(ProxyError::Broken(error))
            }
        }
    }

    /// The first new attempt is made at once, later ones after a short jittered pause.
    pub(crate) async fn pause(&self) {
        let tries = self.broken + self.unsent;
        if tries > 1 {
            let longest = Duration::from_millis(1 << tries.min(6));
            tokio::time::sleep(longest.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        }
    }
}
