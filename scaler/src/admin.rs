//! The HTTP port of metrics, probes and settings.

use axum::Router;
use keda_http_runtime::process::Process;
use keda_http_runtime::readiness::Readiness;

use crate::metrics::Metrics;

/// `/metrics`, and what every program has.
pub fn router(metrics: &Metrics, readiness: Readiness, process: &Process) -> Router {
    keda_http_runtime::admin::metrics(metrics.registry()).merge(keda_http_runtime::admin::router(readiness, process))
}
