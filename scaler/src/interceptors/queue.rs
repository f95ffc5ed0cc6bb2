//! Polls interceptors that only have `GET /queue`, such as the Go add-on's.

use std::time::Duration;

use keda_http_core::demand::{Report, TargetReport};
use keda_http_core::queue::{Queue, QueueEntry};
use keda_http_core::target::TargetKey;

use crate::host_port::HostPort;

/// The client for `/queue`; cheap to clone.
#[derive(Debug, Clone)]
pub struct QueueClient {
    client: reqwest::Client,
}

/// Connecting within a cluster takes milliseconds; this allows for lost packets.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// In bytes. A complete report of a hundred thousand targets has 15 MB.
pub(crate) const MAX_REPORT_SIZE: usize = 64 << 20;

impl QueueClient {
    /// `poll_every` is also the timeout of a request, but that is at least a second, so that with a short interval a
    /// slow answer is not an error.
    ///
    /// # Errors
    /// When the client cannot be created.
    pub fn new(poll_every: Duration) -> reqwest::Result<Self> {
        let timeout = poll_every.max(Duration::from_secs(1));
        let builder = reqwest::Client::builder()
            .no_proxy()
            // Only plain HTTP is used. Loading CA certificates would fail in an image that has none.
            .tls_certs_only([])
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(timeout);
        Ok(Self {
            client: builder.build()?,
        })
    }

    /// Fails when there is no answer in time, it is too large, or it is not upstream's JSON.
    pub(crate) async fn fetch(&self, interceptor: &HostPort) -> Result<Queue, QueueError> {
        let response = self.client.get(format!("http://{interceptor}/queue")).send().await?;
        let mut response = response.error_for_status()?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if body.len() + chunk.len() > MAX_REPORT_SIZE {
                return Err(QueueError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(serde_json::from_slice(&body)?)
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum QueueError {
    #[error(transparent)]
    Http(#[from] reqwest::Error),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error("the answer is larger than {MAX_REPORT_SIZE} bytes")]
    TooLarge,
}

/// Converts an answer to a complete report without a boot id. `uptime` is the caller's, because the answer has none.
pub(crate) fn report(queue: Queue, uptime: Duration) -> Report {
    let targets = queue.into_iter().map(|(key, entry)| target(&key, entry)).collect();
    Report {
        boot: None,
        uptime,
        complete: true,
        targets,
        removed: Vec::new(),
    }
}

fn target(key: &str, entry: QueueEntry) -> TargetReport {
    TargetReport {
        key: TargetKey::from(key),
        arrivals: entry.request_count.try_into().unwrap_or(0),
        pending: entry.concurrency.try_into().unwrap_or(0),
        waiting: 0,
        starting: false,
        pending_nanos: None,
        recent_arrivals: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_becomes_a_complete_report_and_negative_numbers_become_zero() {
        let text = r#"{"shop/api":{"Concurrency":2,"RequestCount":9},"shop/odd":{"Concurrency":-1,"RequestCount":-5}}"#;
        let report = report(serde_json::from_str(text).unwrap(), Duration::from_secs(3));
        assert!(report.complete && report.boot.is_none());
        let numbers: Vec<_> = report
            .targets
            .iter()
            .map(|t| (t.key.as_str(), t.pending, t.arrivals))
            .collect();
        assert_eq!(numbers, [("shop/api", 2, 9), ("shop/odd", 0, 0)]);
    }
}
