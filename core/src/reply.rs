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

impl Reply {
    /// Whether this answers a request for `path` now; `available` says whether the upstream has a ready endpoint.
    pub fn answers(&self, path: &str, available: bool) -> bool {
        let now = match self.when {
            When::Always => true,
            When::WhileUnavailable => !available,
        };
        now && self.path == path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_must_be_the_very_path_and_the_time_right() {
        let reply = |when| Reply {
            path: "/health".into(),
            when,
            status: 200,
        };
        assert!(reply(When::Always).answers("/health", true));
        assert!(!reply(When::Always).answers("/health/x", true));
        assert!(reply(When::WhileUnavailable).answers("/health", false));
        assert!(!reply(When::WhileUnavailable).answers("/health", true));
    }
}
