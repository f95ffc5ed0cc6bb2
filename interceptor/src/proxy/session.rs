//! The session of one request: which endpoint its cookie asks for, and the cookie it gets when another one answers.

use std::time::{SystemTime, UNIX_EPOCH};

use http::{HeaderMap, header};
use keda_http_core::session::{EndpointId, Session};

use crate::inbound::client::Client;
use crate::proxy::headers::X_FORWARDED_PROTO;

/// The session of a request.
pub(crate) struct Sticky<'a> {
    session: &'a Session,
    /// The endpoint that the client's cookie names.
    pub(crate) named_endpoint: Option<EndpointId>,
    secure: bool,
}

impl<'a> Sticky<'a> {
    pub(crate) fn new(session: &'a Session, headers: &HeaderMap, client: &Client) -> Self {
        let https = |value: &[u8]| value.eq_ignore_ascii_case(b"https");
        let forwarded = headers.get(X_FORWARDED_PROTO);
        Self {
            session,
            named_endpoint: session.endpoint(headers, now()),
            secure: https(client.facts.scheme.as_bytes()) || forwarded.is_some_and(|proto| https(proto.as_bytes())),
        }
    }

    /// Adds the cookie that keeps the client at the endpoint that has answered, unless it has it already.
    pub(crate) fn add_cookie(&self, endpoint: EndpointId, headers: &mut HeaderMap) {
        if self.named_endpoint != Some(endpoint)
            && let Some(cookie) = self.session.set_cookie(endpoint, now(), self.secure)
        {
            headers.append(header::SET_COOKIE, cookie);
        }
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
