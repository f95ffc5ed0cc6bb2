//! How a process of ours lives: environment, telemetry, readiness, shutdown, admin server. No domain words.
//!
//! # Layout
//!
//! - [`mod@env`]: settings from the environment; errors name variable, value and what is allowed.
//! - [`settings`]: the readers of settings, and the table of variables that they make.
//! - [`telemetry`]: logs, and spans and metrics that leave by OTLP, by the `OTEL_*` names.
//! - [`readiness`]: tasks that must finish before the process is ready.
//! - [`sleep`]: waiting for a deadline that there may be.
//! - [`shutdown`]: SIGTERM and SIGINT as a value to wait for.
//! - [`backoff`]: pauses between attempts.
//! - [`memory`]: what the allocator holds free, given back.
//! - [`process`]: help, settings, telemetry and exit codes, the same for all programs.
//! - [`admin`]: the router of probes and log level, which programs add their own routes to.

pub mod admin;
pub mod backoff;
pub mod env;
pub mod memory;
pub mod process;
pub mod readiness;
pub mod settings;
pub mod shutdown;
pub mod sleep;
pub mod telemetry;

/// Makes aws-lc-rs the cryptography of every TLS connection of the process, unless somebody has chosen already.
/// [`telemetry::Telemetry::start`] does it; only what speaks TLS before needs to ask itself.
pub fn install_crypto_provider() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// The exit code of a process that was given settings or manifests it cannot use (`EX_USAGE`).
pub const EXIT_USAGE: u8 = 64;

/// The exit code of a process whose command line cannot be understood, as of programs in Go, upstream's among them.
pub const EXIT_COMMAND_LINE: u8 = 2;
