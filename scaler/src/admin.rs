//! The HTTP port of metrics and probes.

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use keda_http_runtime::readiness::Readiness;
use keda_http_runtime::telemetry::LogLevel;

use crate::metrics::Metrics;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// `/metrics`, and with a log level the probes and `/log-level` as well.
pub fn router(metrics: Metrics, readiness: Readiness, log_level: Option<LogLevel>) -> Router {
    let router = Router::new().route(
        "/metrics",
        get(async move || ([(CONTENT_TYPE, OPEN_METRICS)], metrics.encode())),
    );
    match log_level {
        Some(log_level) => router.merge(keda_http_runtime::admin::router(readiness, log_level)),
        None => router,
    }
}
