//! The HTTP port of metrics, probes and settings.

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use keda_http_runtime::process::Process;
use keda_http_runtime::readiness::Readiness;

use crate::metrics::Metrics;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// `/metrics`, and what every program has.
pub fn router(metrics: Metrics, readiness: Readiness, process: &Process) -> Router {
    let metrics = get(async move || ([(CONTENT_TYPE, OPEN_METRICS)], metrics.encode()));
    Router::new()
        .route("/metrics", metrics)
        .merge(keda_http_runtime::admin::router(readiness, process))
}
