//! `keda-http-scaler`: tells KEDA which workloads must be awake, and how much they have to do.

use std::process::ExitCode;

use anyhow::Result;
use keda_http_runtime::env::{EnvError, Environment};
use keda_http_runtime::telemetry::{LogConfig, Telemetry};
use keda_http_runtime::{EXIT_USAGE, shutdown};
use keda_http_scaler::app::App;
use keda_http_scaler::config::{Config, HELP};
use keda_http_scaler::metrics::SERVICE_NAME;
use tracing::{error, info};

#[tokio::main]
#[expect(clippy::print_stdout, reason = "help goes to the standard output")]
async fn main() -> ExitCode {
    if std::env::args()
        .skip(1)
        .any(|argument| matches!(argument.as_str(), "-h" | "--help" | "-help"))
    {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    match settings() {
        Ok((telemetry, config)) => match run(&telemetry, config).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                error!("{error:#}");
                ExitCode::FAILURE
            }
        },
        Err(error) => {
            eprintln!("keda-http-scaler: {error}");
            ExitCode::from(EXIT_USAGE)
        }
    }
}

fn settings() -> Result<(Telemetry, Config), EnvError> {
    let environment = Environment::process();
    let logs = LogConfig::from_args(std::env::args().skip(1))?;
    let config = Config::read(&environment)?;
    let telemetry = Telemetry::start(SERVICE_NAME, &logs, &environment)?;
    Ok((telemetry, config))
}

async fn run(telemetry: &Telemetry, config: Config) -> Result<()> {
    info!(?config, "settings in force");
    let shutdown = shutdown::on_signal()?;
    App::bind(config, Some(telemetry.log_level()))
        .await?
        .run(shutdown)
        .await
}
