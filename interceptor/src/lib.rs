//! The data path of the KEDA HTTP add-on: holds requests while a workload starts from zero, and forwards them the
//! moment a pod is ready.
//!
//! # Layout
//!
//! - [`server`]: listeners and worker threads; [`inbound`]: what may be read from a client's connection.
//! - [`proxy`]: the request, from its route to its answer.
//! - [`routing`]: routes, made from the objects of the source.
//! - [`upstream`]: endpoints, their connections, and the requests that wait for them.
//! - [`counters`]: pending requests, and the reports to scalers; [`telemetry`]: metrics, spans, access log.
//! - [`admin`], [`config`], [`app`]: the admin port, settings, start and shutdown.

mod admin;
pub mod app;
pub mod config;
mod counters;
mod inbound;
mod proxy;
mod routing;
mod server;
mod telemetry;
mod upstream;

pub use routing::source::Objects;
