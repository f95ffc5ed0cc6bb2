//! Interceptors that only have `GET /queue`, such as the Go add-on's: asked again and again.

use std::time::Duration;

use keda_http_core::demand::{Report, TargetReport};
use keda_http_core::queue::{Queue, QueueEntry};
use keda_http_core::target::TargetKey;

use crate::interceptors::Interceptor;

/// Asks `/queue`; cheap to clone.
#[derive(Debug, Clone)]
pub struct QueueClient {
    client: reqwest::Client,
}

/// Connecting to an address that is there takes milliseconds; this is for lost packets.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

impl QueueClient {
    /// `tick`: how often is asked. An answer has at least a second, so that a fast tick does not turn a slow moment into an error.
    ///
    /// # Errors
    /// When the client cannot be made.
    pub fn new(tick: Duration) -> reqwest::Result<Self> {
        let timeout = tick.max(Duration::from_secs(1));
        let builder = reqwest::Client::builder()
            .no_proxy()
            // Only plain text is spoken; an image may have no authorities, which would be an error.
            .tls_certs_only([])
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(timeout);
        Ok(Self {
            client: builder.build()?,
        })
    }

    /// One answer.
    ///
    /// # Errors
    /// When there is none in time, or it is not upstream's JSON.
    pub async fn fetch(&self, interceptor: &Interceptor) -> reqwest::Result<Queue> {
        let response = self.client.get(format!("http://{interceptor}/queue")).send().await?;
        response.error_for_status()?.json().await
    }
}

/// An answer as a report: complete, without a boot id, taken at `uptime` of the caller's own clock.
pub fn report(queue: Queue, uptime: Duration) -> Report {
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
