//! Why a list or a watch failed, and what the next attempt must do.

use std::error::Error;

use kube::core::Status;
use tokio::time::Instant;

#[derive(Debug)]
pub struct Failure {
    code: Option<u16>,
    pub reason: String,
    /// When the API server last responded.
    pub since: Instant,
}

impl Failure {
    pub fn now(code: Option<u16>, reason: impl Into<String>) -> Self {
        Self::since(Instant::now(), code, reason)
    }

    /// The API server has not responded since `heard`.
    pub fn silent(heard: Instant) -> Self {
        Self::since(heard, None, "the API server does not respond")
    }

    fn since(since: Instant, code: Option<u16>, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self { code, reason, since }
    }

    /// The requested version is too old: the usual end of a watch that has fallen behind.
    pub fn is_gone(&self) -> bool {
        self.code == Some(410)
    }

    /// The kind does not exist, or may not be read: somebody has to fix that.
    pub fn is_refusal(&self) -> bool {
        matches!(self.code, Some(403 | 404))
    }

    pub fn is_missing(&self) -> bool {
        self.code == Some(404)
    }

    /// Whether the watch cannot resume from its version: the API server rejected the request itself, not the caller (401)
    /// or the rate of requests (408, 429).
    pub fn needs_list(&self) -> bool {
        matches!(self.code, Some(400..500)) && !matches!(self.code, Some(401 | 408 | 429))
    }
}

impl From<&Status> for Failure {
    fn from(status: &Status) -> Self {
        let words = [&status.message, &status.reason];
        let words = words.into_iter().find(|words| !words.is_empty());
        let reason = words.map_or_else(|| format!("status {}", status.code), |words| words.trim().to_owned());
        Self::now(Some(status.code), reason)
    }
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        match &error {
            kube::Error::Api(status) => Self::from(&**status),
            kube::Error::Service(error) => Self::now(None, chain(&**error)),
            error => Self::now(None, chain(error)),
        }
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::now(None, format!("cannot parse the response of the API server: {error}"))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::now(None, format!("the watch was interrupted: {}", chain(&error)))
    }
}

/// The error and its causes; a cause whose text the error already contains is left out.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    text
}
