//! The client of the tracing tutorial.

use std::process::ExitCode;

use keda_http_e2e_apps::{client, process};

fn main() -> ExitCode {
    process::run("otel-tracing-client", client::HELP, client::Settings::read, client::run)
}
