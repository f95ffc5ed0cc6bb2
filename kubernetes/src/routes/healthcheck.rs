//! Health checks of Kedify's objects, as replies.

use http::StatusCode;
use keda_http_core::route::reply::{Reply, Requests, StaticResponse, When};
use keda_http_core::trigger::{Healthcheck, HealthcheckResponse};

/// The reply to health checks. They do not count as traffic, whether the interceptor or the workload answers.
pub(super) fn healthcheck(check: Option<&Healthcheck>) -> Vec<Reply> {
    let reply = check.map(|check| Reply {
        to: Requests::Path(check.path.clone()),
        when: match check.response {
            HealthcheckResponse::Static => When::Always,
            HealthcheckResponse::Passthrough => When::WhileUnavailable,
        },
        response: StaticResponse::empty(StatusCode::OK),
    });
    reply.into_iter().collect()
}
