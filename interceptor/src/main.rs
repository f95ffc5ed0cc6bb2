//! The interceptor's process: settings and telemetry, bind, run, drained.

use std::process::ExitCode;

use anyhow::Result;
use keda_http_interceptor::app::{App, PROGRAM};
use keda_http_interceptor::config::Config;
use keda_http_kubernetes::source::is_unusable;
use keda_http_runtime::env::Environment;
use keda_http_runtime::process::{Process, print};
use keda_http_runtime::{EXIT_USAGE, shutdown};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if let Some(text) = PROGRAM.answer(&arguments, Config::read) {
        return print(&text);
    }
    let started = match PROGRAM.start(arguments, &Environment::process(), Config::read) {
        Ok(started) => started,
        Err(error) => return PROGRAM.refuse(&error),
    };
    match run(started.config, started.process) {
        Ok(()) => ExitCode::SUCCESS,
        // Settings and manifests that cannot be used are the caller's to correct; everything else may pass by itself.
        Err(error) if error.chain().any(is_unusable) => PROGRAM.fail(&error, EXIT_USAGE),
        Err(error) => PROGRAM.fail(&error, 1),
    }
}

fn run(config: Config, process: Process) -> Result<()> {
    // For everything but requests, which have threads of their own: objects, reports, admin, exports.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let shutdown = shutdown::on_signal()?;
        App::bind(config, process).await?.run(shutdown).await
    })
}
