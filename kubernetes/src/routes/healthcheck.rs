//! Health checks of Kedify's objects, as replies.

use http::StatusCode;
use keda_http_core::route::reply::{Reply, Requests, StaticResponse, When};
use keda_http_core::trigger::{Healthcheck, HealthcheckResponse};

/// How a health check is answered, by the interceptor or by the workload: either way it is no traffic.
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
