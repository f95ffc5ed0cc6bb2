//! Metrics, spans and the access log of requests.

pub mod access_log;
pub mod metrics;
pub mod spans;
