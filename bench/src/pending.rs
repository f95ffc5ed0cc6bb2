//! The waiting requests that an interceptor reports to scalers.

use std::collections::HashMap;

use anyhow::{Context, Result};
use keda_http_proto::pending::pending_requests_client::PendingRequestsClient;
use keda_http_proto::pending::{Report, WatchRequest};
use tonic::Streaming;
use tonic::transport::Endpoint;

use crate::interceptor::Interceptor;

/// The interceptor's stream of reports, and the state that they add up to.
#[derive(Debug)]
pub struct Pending {
    reports: Streaming<Report>,
    waiting: HashMap<String, u64>,
}

impl Pending {
    pub async fn watch(interceptor: &Interceptor) -> Result<Self> {
        let channel = Endpoint::from_shared(format!("http://{}", interceptor.admin))?
            .connect()
            .await?;
        let reports = PendingRequestsClient::new(channel)
            .watch(WatchRequest {})
            .await?
            .into_inner();
        Ok(Self {
            reports,
            waiting: HashMap::new(),
        })
    }

    /// Waits until so many requests wait for an endpoint of the target.
    pub async fn until_waiting(&mut self, key: &str, count: u64) -> Result<()> {
        while self.waiting.get(key).copied().unwrap_or_default() != count {
            let report = self
                .reports
                .message()
                .await?
                .context("the interceptor has ended its reports")?;
            self.waiting
                .extend(report.targets.into_iter().map(|target| (target.key, target.waiting)));
        }
        Ok(())
    }
}
