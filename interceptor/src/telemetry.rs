//! What people see of requests: metrics, spans and the access log.

pub mod access_log;
pub mod metrics;
pub mod spans;
