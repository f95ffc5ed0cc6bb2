//! The whole interceptor on loopback: real sockets, a real directory of manifests, real apps.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod admin;
mod autowired;
mod cancelling;
mod cold_start;
mod draining;
mod external_names;
mod faults;
mod half_close;
mod hostile;
mod http2_limits;
mod kinds;
mod lenient;
mod own_answers;
mod ownership;
mod protocols;
mod pushed_metrics;
mod responses;
mod routes;
mod sessions;
mod support;
mod tracing;
