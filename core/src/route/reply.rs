//! Responses of the interceptor itself: to which requests, when, and with what content.
//!
//! A request that matches a reply is never counted and wakes nothing, also when it is forwarded. Matching is that of
//! upstream's static routes: the first matching entry of the list wins.

pub mod media_type;

use http::{HeaderMap, StatusCode};

use super::rule::Rule;
use super::{host, path};

/// When a reply is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Always; the request never reaches the upstream.
    Always,
    /// Only while the upstream has no ready endpoint.
    WhileUnavailable,
}

/// A response of the interceptor, and to which requests.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// Which requests match.
    pub to: Requests,
    /// When they get the response; otherwise they are forwarded, uncounted.
    pub when: When,
    /// The response.
    pub response: StaticResponse,
}

/// Requests of a route that match a reply.
#[derive(Debug, Clone, PartialEq)]
pub enum Requests {
    /// Those for exactly this path, as received (`healthcheckPath`).
    Path(String),
    /// Those that match one of the rules (`staticRoutes`).
    Rules(Vec<Rule>),
}

/// A response that needs no upstream.
#[derive(Debug, Clone, PartialEq)]
pub struct StaticResponse {
    /// A final status, 200 to 599.
    pub status: StatusCode,
    /// Without headers about the connection or the length of the body.
    pub headers: HeaderMap,
    /// Where its body is.
    pub body: StaticBody,
}

/// Where the body of a [`StaticResponse`] is.
#[derive(Debug, Clone, PartialEq)]
pub enum StaticBody {
    /// The text itself; may be empty.
    Inline(String),
    /// In a ConfigMap of the route's namespace.
    ConfigMap {
        /// Its name.
        name: String,
        /// The key; `None`: by [`key_of_path`].
        key: Option<String>,
    },
}

const INDEX: &str = "index.html";

impl StaticResponse {
    /// A response without a body.
    pub fn empty(status: StatusCode) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
            body: StaticBody::Inline(String::new()),
        }
    }
}

/// The key of a path: the path without its leading slash, `index.html` for `/`.
pub fn key_of_path(path: &str) -> std::borrow::Cow<'_, str> {
    let path = path.strip_prefix('/').unwrap_or(path);
    if path.is_empty() {
        INDEX.into()
    } else {
        path::decode(path)
    }
}

/// The position of the first that matches a request. `host` is the Host header and `path` the path, both as received.
pub fn first_match<'a>(
    replies: impl IntoIterator<Item = &'a Requests>,
    host: &str,
    path: &str,
    headers: &HeaderMap,
) -> Option<usize> {
    let mut lowered = [0; host::MAX_LENGTH];
    let host = host::normalize(host, &mut lowered).unwrap_or_default();
    let decoded = path::decode(path);
    replies.into_iter().position(|requests| match requests {
        Requests::Path(own) => own == path,
        Requests::Rules(rules) => rules.iter().any(|rule| rule.matches(host, &decoded, headers)),
    })
}

#[cfg(test)]
mod tests;
