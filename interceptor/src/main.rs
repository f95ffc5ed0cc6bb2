//! The interceptor's process: telemetry, settings, bind, run, drained.

use std::process::ExitCode;

use anyhow::Result;
use keda_http_interceptor::SERVICE_NAME;
use keda_http_interceptor::app::App;
use keda_http_interceptor::config::{self, Config};
use keda_http_kubernetes::source::cluster::ClientError;
use keda_http_kubernetes::source::directory::DirectoryError;
use keda_http_runtime::env::{EnvError, Environment};
use keda_http_runtime::telemetry::{LogConfig, MetricPush, Telemetry, logs};
use keda_http_runtime::{EXIT_USAGE, shutdown};

fn main() -> ExitCode {
    if std::env::args()
        .skip(1)
        .any(|argument| ["-h", "-help", "--help"].contains(&argument.as_str()))
    {
        return help();
    }
    let (telemetry, push, config) = match settings() {
        Ok(settings) => settings,
        Err(error) => return fail(&error.to_string(), EXIT_USAGE),
    };
    // What is not the data path: objects, reports, admin, exports.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let ran = runtime
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(run(config, &telemetry, push)));
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("{error:#}"), exit_code(&error)),
    }
}

fn settings() -> Result<(Telemetry, Option<MetricPush>, Config), EnvError> {
    let environment = Environment::process();
    let logs = LogConfig::from_args(std::env::args().skip(1))?;
    // First of all, since settings that have no effect any more are logged.
    let telemetry = Telemetry::start(SERVICE_NAME, &logs, &environment)?;
    let push = MetricPush::from_environment(SERVICE_NAME, &environment)?;
    let config = Config::from_env(&environment)?;
    Ok((telemetry, push, config))
}

async fn run(config: Config, telemetry: &Telemetry, push: Option<MetricPush>) -> Result<()> {
    let shutdown = shutdown::on_signal()?;
    tracing::info!(config = %serde_json::to_string(&config)?, "starting");
    let app = App::bind(config, telemetry.tracing(), telemetry.log_level()).await?;
    let app = app.pushing(push);
    let bound = app.bound();
    tracing::info!(proxy = %bound.proxy, admin = %bound.admin, metrics = ?bound.metrics, "listening");
    app.run(shutdown).await
}

/// Settings and manifests that cannot be used are the caller's to mend (`EX_USAGE`); everything else may pass by itself.
fn exit_code(error: &anyhow::Error) -> u8 {
    let malformed = matches!(error.downcast_ref(), Some(DirectoryError::Malformed(_)));
    let no_source = matches!(error.downcast_ref(), Some(ClientError::NoCluster(_)));
    if malformed || no_source { EXIT_USAGE } else { 1 }
}

#[expect(clippy::print_stdout, reason = "help goes to the standard output")]
fn help() -> ExitCode {
    print!("{}\nFlags:\n{}", config::HELP, logs::flags_help());
    ExitCode::SUCCESS
}

fn fail(reason: &str, code: u8) -> ExitCode {
    eprintln!("keda-http-interceptor: {reason}");
    ExitCode::from(code)
}
