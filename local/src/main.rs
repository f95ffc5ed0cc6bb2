//! `keda-http-local`: interceptor, scaler and apps on one machine, without a cluster.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use keda_http_local::addresses;
use keda_http_local::app::{Local, Options, StartError};
use keda_http_local::cli::{self, Command, HELP};
use keda_http_local::demo;
use keda_http_local::output::Output;
use keda_http_runtime::env::Environment;
use keda_http_runtime::process::{print, print_error};
use keda_http_runtime::telemetry::{LogConfig, Telemetry};
use keda_http_runtime::{EXIT_COMMAND_LINE, EXIT_USAGE, shutdown};

/// Objects that are not valid are printed by `manifests`, so they are not logged, too.
const LOGS: &str = "warn,keda_http_kubernetes=error";

/// One thread: the system ties the lives of our children to the thread that starts them.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let output = Output::stdout();
    match cli::parse(std::env::args_os().skip(1), programs()) {
        Ok(Command::Help) => print(HELP),
        Ok(Command::Version) => print(concat!("keda-http-local ", env!("CARGO_PKG_VERSION"), "\n")),
        Ok(Command::Run(options)) => exit_code(run(&options, false, output).await),
        Ok(Command::Demo(options)) => exit_code(run(&options, true, output).await),
        Err(error) => fail(&error.to_string(), EXIT_COMMAND_LINE),
    }
}

/// The directory of our own executable.
fn programs() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    own.parent().map(PathBuf::from).unwrap_or_default()
}

/// `false` when the demo failed or the start was interrupted.
async fn run(options: &Options, demo: bool, output: Output) -> Result<bool, StartError> {
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| LOGS.to_owned());
    let logs = Environment::of([("RUST_LOG", filter.as_str())]);
    let _logs = Telemetry::start("keda-http-local", &LogConfig::default(), &logs).context("cannot start logging")?;
    let shutdown = shutdown::on_signal().context("cannot listen for signals")?;
    let mut local = tokio::select! {
        started = Local::start(options, output.clone()) => started?,
        () = shutdown.cancelled() => return Ok(false),
    };
    addresses::print(&local, &output);
    let succeeded = if demo {
        tokio::select! {
            result = demo::run(&local, &output) => result.map_err(StartError::from),
            () = shutdown.cancelled() => Ok(false),
        }
    } else {
        local.draw_cold_starts();
        shutdown.cancelled().await;
        Ok(true)
    };
    local.stop().await;
    succeeded
}

fn exit_code(result: Result<bool, StartError>) -> ExitCode {
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error @ StartError::Manifests(_)) => fail(&error.to_string(), EXIT_USAGE),
        Err(error @ StartError::Failed(_)) => fail(&error.to_string(), 1),
    }
}

fn fail(reason: &str, code: u8) -> ExitCode {
    for line in reason.lines() {
        print_error(&format!("keda-http-local: {line}"));
    }
    ExitCode::from(code)
}
