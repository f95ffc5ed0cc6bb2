//! Metrics, spans and the access log of requests.

pub(crate) mod access_log;
pub(crate) mod metrics;
pub(crate) mod spans;
