//! Benchmarks of the release binaries, compared with nginx where the figure is a ratio. Linux only: they read `/proc`.
//!
//! The measured program runs on one core; this process, which is load generator, app, collector and KEDA in one, runs
//! on another. Each case starts what it needs, prints a table with its method, and writes the same as JSON.
//!
//! # Layout
//!
//! - [`cases`]: one file each: `signal`, `ready`, `get64`, `held`, `routes`, `tracing`, `cluster`.
//! - [`build`]: which build of the programs is measured, and which earlier one it is compared with.
//! - [`program`]: starts a program on its core, reads what it has used, and ends it.
//! - [`interceptor`], [`scaler`], [`nginx`]: how each of them is started, and when it is ready.
//! - [`manifests`]: the directory that the programs read, and the objects in it.
//! - [`client`], [`load`], [`app`], [`collector`]: one HTTP connection, many of them, the app behind, the OTLP sink.
//! - [`pending`]: the waiting requests that an interceptor reports.
//! - [`contest`]: the same load on several servers in turn, and the ratios of their costs.
//! - [`cores`], [`statistics`], [`report`], [`machine`]: pinning, percentiles, tables and JSON, the machine's facts.

pub mod app;
pub mod build;
pub mod cases;
pub mod client;
pub mod collector;
pub mod contest;
pub mod cores;
pub mod interceptor;
pub mod load;
pub mod machine;
pub mod manifests;
pub mod nginx;
pub mod pending;
pub mod program;
pub mod report;
pub mod scaler;
pub mod statistics;
