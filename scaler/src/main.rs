//! `keda-http-scaler`: tells KEDA which workloads must be awake, and how much they have to do.

use std::process::ExitCode;

use anyhow::Result;
use keda_http_runtime::env::{EnvError, Environment};
use keda_http_runtime::telemetry::{LogConfig, MetricPush, Telemetry};
use keda_http_runtime::{EXIT_USAGE, shutdown};
use keda_http_scaler::app::App;
use keda_http_scaler::command::Command;
use keda_http_scaler::config::{AutowireCommandConfig, Config, HELP};
use keda_http_scaler::controllers::autowire::command::{self, ClusterReader};
use keda_http_scaler::metrics::SERVICE_NAME;
use tracing::{error, info};

#[tokio::main]
#[expect(
    clippy::print_stdout,
    reason = "help and the words of commands go to the standard output"
)]
async fn main() -> ExitCode {
    match called().await {
        Ok(Ok(text)) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Ok(Err(error)) => {
            error!("{error:#}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("keda-http-scaler: {error}");
            ExitCode::from(EXIT_USAGE)
        }
    }
}

/// What the program has to say when it ends.
async fn called() -> Result<Result<String>, EnvError> {
    let environment = Environment::process();
    let (command, flags) = Command::read(std::env::args().skip(1))?;
    let logs = LogConfig::from_args(flags)?;
    let telemetry = || Telemetry::start(SERVICE_NAME, &logs, &environment);
    let autowire = || AutowireCommandConfig::read(&environment);
    Ok(match command {
        Command::Help => Ok(HELP.to_owned()),
        Command::Serve => {
            let (config, telemetry) = (Config::read(&environment)?, telemetry()?);
            let push = MetricPush::from_environment(SERVICE_NAME, &environment)?;
            run(&telemetry, config, push).await.map(|()| String::new())
        }
        Command::DryRun => {
            let (config, _telemetry) = (autowire()?, telemetry()?);
            match ClusterReader::connect(&config).await {
                Ok(reader) => command::dry_run(&reader, &config).await,
                Err(error) => Err(error),
            }
        }
        Command::Restore => {
            let (config, _telemetry) = (autowire()?, telemetry()?);
            match ClusterReader::connect(&config).await {
                Ok(reader) => command::restore(&reader, &config).await,
                Err(error) => Err(error),
            }
        }
    })
}

async fn run(telemetry: &Telemetry, config: Config, push: Option<MetricPush>) -> Result<()> {
    info!(?config, "settings in force");
    let shutdown = shutdown::on_signal()?;
    App::bind(config, Some(telemetry.log_level()))
        .await?
        .pushing(push)
        .run(shutdown)
        .await
}
