//! The data path of the KEDA HTTP add-on: holds requests while a workload starts from zero, and forwards them the
//! moment a pod is ready.
//!
//! # Layout
//!
//! - [`server`]: listeners and worker threads; [`inbound`]: what may be read from a client's connection.
//! - [`proxy`]: the request, from its route to its answer; [`body`]: bodies both ways.
//! - [`routing`]: routes, made from the objects of the source.
//! - [`upstream`]: endpoints, their connections, and the requests that wait for them.
//! - [`counters`]: pending requests, and the reports to scalers; [`telemetry`]: metrics, spans, access log.
//! - [`admin`], [`config`], [`app`]: the admin port, settings, start and shutdown.

pub mod admin;
pub mod app;
pub mod body;
pub mod config;
pub mod counters;
pub mod inbound;
pub mod proxy;
pub mod routing;
pub mod server;
pub mod telemetry;
pub mod upstream;
