//! The scaler's process: settings and telemetry, bind, run, drained; or one of its commands.

use std::process::ExitCode;

use anyhow::Result;
use keda_http_kubernetes::source::is_unusable;
use keda_http_runtime::env::{EnvError, Environment};
use keda_http_runtime::process::{Process, print};
use keda_http_runtime::{EXIT_USAGE, shutdown};
use keda_http_scaler::app::{App, PROGRAM};
use keda_http_scaler::cluster::Cluster;
use keda_http_scaler::command::Command;
use keda_http_scaler::config::{AutowireCommandConfig, Config};
use keda_http_scaler::controllers::autowire::command;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if let Some(text) = PROGRAM.answer(&arguments, Config::read) {
        return print(&text);
    }
    match run(arguments) {
        Ok(Ok(text)) => print(&text),
        // Settings and manifests that cannot be used are the caller's to correct; everything else may pass by itself.
        Ok(Err(error)) if error.chain().any(is_unusable) => PROGRAM.fail(&error, EXIT_USAGE),
        Ok(Err(error)) => PROGRAM.fail(&error, 1),
        Err(error) => PROGRAM.refuse(&error),
    }
}

/// What a command prints. The first error is for a call that cannot be understood.
fn run(arguments: Vec<String>) -> Result<Result<String>, EnvError> {
    let environment = Environment::process();
    let (command, flags) = Command::read(arguments)?;
    Ok(match command {
        Command::Serve => {
            let started = PROGRAM.start(flags, &environment, Config::read)?;
            block_on(serve(started.config, started.process))
        }
        Command::DryRun => {
            let started = PROGRAM.start(flags, &environment, AutowireCommandConfig::read)?;
            block_on(dry_run(started.config))
        }
        Command::Restore => {
            let started = PROGRAM.start(flags, &environment, AutowireCommandConfig::read)?;
            block_on(restore(started.config))
        }
    })
}

fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(future)
}

async fn serve(config: Config, process: Process) -> Result<String> {
    let shutdown = shutdown::on_signal()?;
    App::bind(config, process).await?.run(shutdown).await?;
    Ok(String::new())
}

async fn dry_run(config: AutowireCommandConfig) -> Result<String> {
    command::dry_run(&Cluster::connect(&config.cluster).await?, &config).await
}

async fn restore(config: AutowireCommandConfig) -> Result<String> {
    command::restore(&Cluster::connect(&config.cluster).await?, &config).await
}
