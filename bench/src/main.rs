//! `keda-http-bench CASE [BEFORE]` runs one benchmark, or all of them, and compares with the build in directory BEFORE.

use std::path::PathBuf;

use anyhow::Result;
use keda_http_bench::build::Builds;
use keda_http_bench::cases::{self, Case};
use keda_http_bench::{app, cores};
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
