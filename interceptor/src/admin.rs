//! The admin port: what every program has, `/queue`, `/routes`, and the gRPC stream of reports.

use axum::extract::State;
use axum::routing::{any, get};
use axum::{Json, Router};
use keda_http_core::queue::{Queue, QueueEntry};
use keda_http_runtime::process::Process;
use keda_http_runtime::readiness::Readiness;

use crate::counters::pending::PendingRequests;
use crate::counters::report::Reports;
use crate::proxy::routes::{RouteView, Routes};

/// What the admin port shows.
#[derive(Clone)]
pub struct Admin {
    /// The counters.
    pub pending: PendingRequests,
    /// The routes.
    pub routes: Routes,
}

/// The admin port's routes.
pub fn router(admin: Admin, reports: Reports, readiness: Readiness, process: &Process) -> Router {
    let grpc = keda_http_runtime::admin::grpc(tonic::service::Routes::new(reports.service()));
    Router::new()
        .route("/queue", any(queue))
        .route("/routes", get(routes))
        .with_state(admin)
        .merge(keda_http_runtime::admin::router(readiness, process))
        .merge(grpc)
}

/// The counters in upstream's shape; every known route appears, idle ones too.
async fn queue(State(admin): State<Admin>) -> Json<Queue> {
    let counts = admin.pending.snapshot().into_iter();
    let entry = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    Json(
        counts
            .map(|(key, counts)| {
                let entry = QueueEntry {
                    concurrency: entry(counts.pending),
                    request_count: entry(counts.arrivals),
                };
                (key.as_str().to_owned(), entry)
            })
            .collect(),
    )
}

async fn routes(State(admin): State<Admin>) -> Json<Vec<RouteView>> {
    Json(admin.routes.views())
}
