//! Runs the benchmark that is named, or all of them.

use anyhow::Result;
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
        tokio::select! {
            done = cases::run(&selected) => done,
            _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
        }
    })
}
