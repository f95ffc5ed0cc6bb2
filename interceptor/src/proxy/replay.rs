//! A copy of a request's head, kept where a request may have to be sent a second time.
//!
//! A request that may have been seen is only sent again when it is safe to be seen twice (RFC 9110 section 9.2.2) and
//! has no body. The copy is made where an unanswered send is likely: on a new connection, and on one that was idle long
//! enough for the endpoint to be closing it at this moment. Under load connections are idle for microseconds, and
//! nothing is copied.

use std::time::Duration;

use http::{Extensions, HeaderMap, Method, Request, Uri, Version};

use keda_http_kubernetes::endpoints::AppProtocol;

use crate::body::RequestBody;
use crate::upstream::Connection;

/// Servers close idle connections after seconds; one that was in use a moment ago is not being closed.
const SETTLED: Duration = Duration::from_millis(100);

/// The head of a request without a body.
pub struct Replay {
    method: Method,
    uri: Uri,
    version: Version,
    headers: HeaderMap,
}

impl Replay {
    /// The copy, when the request may be sent again and is likely to have to be.
    pub fn of(request: &Request<RequestBody>, connection: &Connection) -> Option<Self> {
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
    pub fn request(self) -> Request<RequestBody> {
        let mut request = Request::new(RequestBody::Empty);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.version_mut() = self.version;
        *request.headers_mut() = self.headers;
        *request.extensions_mut() = Extensions::new();
        request
    }
}
