//! Responses that the interceptor gives itself, and when.

/// When a reply is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Always; the request never reaches the upstream.
    Always,
    /// Only while the upstream has no ready endpoint.
    WhileUnavailable,
}

/// A response of our own. Requests that are answered by one are never counted and never wake anything.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// The exact path it answers (`healthcheckPath`).
    pub path: String,
    /// When.
    pub when: When,
    /// Its status code.
    pub status: u16,
}
