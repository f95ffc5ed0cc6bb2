//! `keda-http-bench CASE [BEFORE]` runs one benchmark, or all of them, and compares with the build in directory BEFORE.
//!
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

mod app;
mod build;
mod cases;
mod client;
mod collector;
mod contest;
mod cores;
mod interceptor;
mod load;
mod machine;
mod manifests;
mod nginx;
mod pending;
mod program;
mod report;
mod scaler;
mod statistics;

use std::path::PathBuf;

use anyhow::Result;
use build::Builds;
use cases::Case;
use tokio::runtime::LocalOptions;

fn main() -> Result<()> {
    let argument = std::env::args().nth(1).unwrap_or_else(|| "all".to_owned());
    cores::pin(cores::LOAD)?;
    cores::raise_descriptor_limit()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())?;
    runtime.block_on(async {
        if argument == app::ARGUMENT {
            return app::run().await;
        }
        let selected = Case::select(&argument)?;
        let builds = Builds::find(std::env::args_os().nth(2).map(PathBuf::from))?;
        tokio::select! {
            done = cases::run(&selected, &builds) => done,
            _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
        }
    })
}
