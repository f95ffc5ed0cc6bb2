//! The admin router every program has: probes and log level. Programs merge their own routes and gRPC services into it.

use axum::Router;

use crate::readiness::Readiness;
use crate::telemetry::LogLevel;

/// `GET /livez` (200 while the process runs), `GET /readyz` (200 `OK` or 503, with `?verbose` or `Accept: application/json` the whole
/// report as JSON), `GET` and `PUT /log-level` (a `tracing` filter such as `info` or `info,keda_http_interceptor=debug`).
pub fn router(readiness: Readiness, log_level: LogLevel) -> Router {
    let _ = (readiness, log_level);
    todo!()
}
