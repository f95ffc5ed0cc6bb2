//! Whether a request is sent again, and what is sent then.
//!
//! A request that comes back unsent is sent over another connection, whatever it is. One that may have been seen is
//! only sent again when it is safe to be seen twice (RFC 9110 section 9.2.2) and has no body: servers close idle
//! connections whenever they like, also while a request is on its way to them. The head of such a request is copied
//! before it is sent, since hyper keeps what it has taken (0.2 to 0.4 µs for 4 to 11 headers). A request that got a
//! response, even one that cannot be read, is not sent again, unless only the connection had no room for its header
//! lines.

use std::time::Duration;

use http::{HeaderMap, Method, Request, Uri, Version, header};
use tokio::time::Instant;

use crate::proxy::error::ProxyError;
use crate::proxy::exchange::ExchangeError;
use crate::proxy::record::Record;
use crate::proxy::response_head::BadResponse;
use crate::upstream::request_body::RequestBody;

/// Requests that were sent and not answered are sent again this often.
const REPLAYS: u32 = 3;
/// A pod that has just started and resets is taken for one that is not up yet, for this long.
const COLD_REPLAYS: Duration = Duration::from_secs(10);
/// How long connections that close before they take the request are put up with.
const UNSENT_LIMIT: Duration = Duration::from_secs(60);

/// A copy of a request without a body that may be sent a second time.
pub(crate) struct HeadCopy {
    method: Method,
    uri: Uri,
    version: Version,
    headers: HeaderMap,
}

impl HeadCopy {
    /// `None` when the request must not be sent twice.
    pub(crate) fn new(request: &Request<RequestBody>) -> Option<Self> {
        let repeatable = request.method().is_idempotent() && request.body().is_empty();
        (repeatable && !request.headers().contains_key(header::UPGRADE)).then(|| Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            headers: request.headers().clone(),
        })
    }

    fn into_request(self) -> Request<RequestBody> {
        let mut request = Request::new(RequestBody::Empty);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.version_mut() = self.version;
        *request.headers_mut() = self.headers;
        request
    }
}

/// The failed attempts of one request.
#[derive(Default)]
pub(crate) struct Retries {
    broken: u32,
    unsent: u32,
    too_large: bool,
    first_failure: Option<Instant>,
}

impl Retries {
    /// The request for the next attempt, or the error that ends it.
    pub(crate) fn next_request(
        &mut self,
        error: ExchangeError,
        copy: Option<HeadCopy>,
        record: &Record,
    ) -> Result<Request<RequestBody>, ProxyError> {
        let failing_for = self.first_failure.get_or_insert_with(Instant::now).elapsed();
        match error {
            ExchangeError::Unsent(request) if failing_for < UNSENT_LIMIT => {
                self.unsent += 1;
                Ok(*request)
            }
            ExchangeError::Unsent(_) => Err(ProxyError::Exhausted(self.unsent)),
            ExchangeError::Late(limit) => Err(ProxyError::ResponseHeaderTimeout(limit)),
            ExchangeError::Deadline => Err(ProxyError::RequestTimeout(record.elapsed())),
            ExchangeError::ClientGone => Err(ProxyError::ClientGone),
            ExchangeError::Broken(error) if error.is_user() => Err(ProxyError::BadBody(error)),
            ExchangeError::BadResponse(error) => {
                let first = matches!(error, BadResponse::TooLarge) && !std::mem::replace(&mut self.too_large, true);
                copy.filter(|_| first)
                    .map(HeadCopy::into_request)
                    .ok_or(ProxyError::BadResponse(error))
            }
            ExchangeError::Broken(error) => {
                self.broken += 1;
                let patient = self.broken <= REPLAYS || (record.is_cold() && failing_for < COLD_REPLAYS);
                copy.filter(|_| patient)
                    .map(HeadCopy::into_request)
                    .ok_or(ProxyError::Broken(error))
            }
        }
    }

    /// Whether the next attempt must not use a connection that was idle.
    pub(crate) fn need_new_connection(&self) -> bool {
        self.broken > 0 || self.too_large
    }

    /// The first new attempt is made at once, later ones after a short jittered pause.
    pub(crate) async fn pause(&self) {
        let failed = self.broken + self.unsent;
        if failed > 1 {
            let longest = Duration::from_millis(1 << failed.min(6));
            tokio::time::sleep(longest.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        }
    }
}
