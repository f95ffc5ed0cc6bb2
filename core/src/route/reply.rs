//! Responses that the interceptor gives itself: to which requests, when, and what they say.
//!
//! A request that a reply takes is never counted and wakes nothing, whoever answers it in the end. The matcher is
//! upstream's for static routes: a list in the order it is written, the first entry that matches wins.

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

/// A response of our own, and to which requests.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// The requests that it takes.
    pub to: Requests,
    /// When they are answered by it; otherwise they are forwarded, uncounted.
    pub when: When,
    /// What is answered.
    pub response: StaticResponse,
}

/// Requests of a route that a reply takes.
#[derive(Debug, Clone, PartialEq)]
pub enum Requests {
    /// Those for this very path, as it was received (`healthcheckPath`).
    Path(String),
    /// Those that one of the rules takes (`staticRoutes`).
    Rules(Vec<Rule>),
}

/// A response that needs no upstream.
#[derive(Debug, Clone, PartialEq)]
pub struct StaticResponse {
    /// Its status, a final one.
    pub status: StatusCode,
    /// Its headers, without those that are about the connection or the length of the body.
    pub headers: HeaderMap,
    /// Where its body is.
    pub body: StaticBody,
}

/// Where the body of a [`StaticResponse`] is.
#[derive(Debug, Clone, PartialEq)]
pub enum StaticBody {
    /// Here; may be empty.
    Inline(String),
    /// In a ConfigMap of the route's namespace.
    ConfigMap {
        /// Its name.
        name: String,
        /// The key; `None`: by [`key_of_path`].
        key: Option<String>,
    },
}

/// What is answered for `/` where the path decides on the key.
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

/// The key that a path leads to: the path without its leading slash, `index.html` for `/`.
pub fn key_of_path(path: &str) -> std::borrow::Cow<'_, str> {
    let path = path.strip_prefix('/').unwrap_or(path);
    if path.is_empty() {
        INDEX.into()
    } else {
        path::decode(path)
    }
}

/// The place of the first that takes a request. `host` is the Host header and `path` the path, both as received.
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
