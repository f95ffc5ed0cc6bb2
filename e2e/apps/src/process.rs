//! How both apps start and end.

use std::process::ExitCode;

use anyhow::Result;
use keda_http_runtime::env::{EnvError, Environment};
use keda_http_runtime::process::{print, print_error};
use keda_http_runtime::telemetry::{LogConfig, Telemetry};
use keda_http_runtime::{EXIT_USAGE, shutdown};
use tokio_util::sync::CancellationToken;

use crate::spans::{SERVICE, Spans};

/// Reads settings, starts the spans, and runs the app until SIGTERM or its own end.
pub fn run<S, F>(
    name: &str,
    help: &str,
    read: impl FnOnce(&Environment) -> Result<S, EnvError>,
    app: impl FnOnce(S, Spans, CancellationToken) -> F,
) -> ExitCode
where
    F: Future<Output = Result<()>>,
{
    if std::env::args()
        .skip(1)
        .any(|argument| argument == "-h" || argument == "--help")
    {
        return print(help);
    }
    let environment = Environment::process();
    let started = read(&environment).and_then(|settings| Ok((settings, telemetry(&environment)?)));
    let (settings, telemetry) = match started {
        Ok(started) => started,
        Err(error) => {
            print_error(&format!("{name}: {error}"));
            return ExitCode::from(EXIT_USAGE);
        }
    };
    match serve(settings, &telemetry, app) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_error(&format!("{name}: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn serve<S, F>(settings: S, telemetry: &Telemetry, app: impl FnOnce(S, Spans, CancellationToken) -> F) -> Result<()>
where
    F: Future<Output = Result<()>>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let shutdown = shutdown::on_signal()?;
        app(settings, Spans::new(telemetry.tracing()), shutdown).await
    })
}

/// With an endpoint the spans go there by gRPC, and without one to standard output, as the tutorial's apps do.
fn telemetry(environment: &Environment) -> Result<Telemetry, EnvError> {
    let protocol = match environment.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") {
        Some(_) => "grpc",
        None => "console",
    };
    let protocol = environment
        .get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
        .unwrap_or_else(|| protocol.to_owned());
    let environment = environment.with([
        ("OTEL_EXPORTER_OTLP_TRACES_ENABLED", "true"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", &protocol),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
    ]);
    Telemetry::start(SERVICE, &LogConfig::default(), &environment)
}
