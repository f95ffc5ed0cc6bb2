//! The server of the tracing tutorial.

use std::process::ExitCode;

use keda_http_e2e_apps::{process, server};

fn main() -> ExitCode {
    process::run("otel-tracing-server", server::HELP, server::Settings::read, server::run)
}
