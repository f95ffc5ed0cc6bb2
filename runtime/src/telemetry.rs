//! Logs, and what leaves by OTLP: spans and metrics, by the `OTEL_*` names.
//!
//! `tracing` is for logs only; spans are made with the OpenTelemetry API directly, because a subscriber that runs
//! for every span costs several microseconds per request whether the span is sampled or not.
//!
//! The readers of the `OTEL_*` variables say what these are for; `--help` and the chart's README list them.

use opentelemetry_sdk::trace::SdkTracerProvider;

use crate::env::{EnvError, Environment};
use crate::settings::Settings;

mod console;
mod export;
#[cfg(test)]
mod logged;
pub(crate) mod logs;
mod metrics;
mod otlp;
mod own_runtime;
mod prompt;
pub mod propagation;
mod sampling;
mod settings;

pub use logs::{LogConfig, LogLevel, LogLevelError};
pub use metrics::{Instruments, MetricPush, Pushing};
pub use otlp::FLUSH_LIMIT;
pub use prompt::PromptExport;
pub use propagation::Propagation;
pub use sampling::Sampling;

pub(crate) use logs::flags_help;
pub(crate) use metrics::MetricSettings;
pub(crate) use settings::SpanSettings;

/// Spans are on: where they go, and by which rules.
#[derive(Debug, Clone)]
pub struct Tracing {
    /// Makes tracers.
    pub provider: SdkTracerProvider,
    /// Which headers.
    pub propagation: Propagation,
    /// Which spans.
    pub sampling: Sampling,
    /// Sends what is waited for before the batch delay has passed.
    pub prompt: PromptExport,
}

/// The telemetry of a process; dropping it flushes what is buffered, for at most [`FLUSH_LIMIT`]. Drop it on any
/// thread, inside a runtime or not; where other tasks share the thread, [`Telemetry::shutdown`] does not stop them.
#[derive(Debug)]
pub struct Telemetry {
    tracing: Option<Tracing>,
    log_level: LogLevel,
}

impl Telemetry {
    /// Installs the logs, and the span pipeline when `OTEL_EXPORTER_OTLP_TRACES_ENABLED` is true. `service_name` is
    /// fixed (`OTEL_SERVICE_NAME` does not change it, as upstream). Exports run on a thread of their own, never on
    /// the data path's. The logs of a process are those of the first call; later calls share their level.
    ///
    /// # Errors
    /// When a variable cannot be used.
    pub fn start(service_name: &'static str, logs: &LogConfig, environment: &Environment) -> Result<Self, EnvError> {
        let read = |settings: &Settings| (logs::read_filter(settings), SpanSettings::read(settings));
        let ((filter, spans), _) = crate::settings::read(environment, read)?;
        Self::start_with(service_name, logs, filter, spans)
    }

    pub(crate) fn start_with(
        service_name: &'static str,
        logs: &LogConfig,
        filter: Option<String>,
        spans: Option<SpanSettings>,
    ) -> Result<Self, EnvError> {
        crate::install_crypto_provider();
        let log_level = logs::install(logs, filter)?;
        let tracing = spans.map(|settings| start_spans(service_name, settings)).transpose()?;
        Ok(Self { tracing, log_level })
    }

    /// The spans, when they are on.
    pub fn tracing(&self) -> Option<Tracing> {
        self.tracing.clone()
    }

    /// The level of the logs.
    pub fn log_level(&self) -> LogLevel {
        self.log_level.clone()
    }

    /// Flushes what is buffered, for at most [`FLUSH_LIMIT`], without stopping the tasks of this thread meanwhile.
    pub async fn shutdown(self) {
        // It can fail only when the runtime shuts down; then the drop has happened on this thread.
        let _ = tokio::task::spawn_blocking(move || drop(self)).await;
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        let Some(tracing) = &self.tracing else { return };
        if let Err(error) = tracing.provider.shutdown_with_timeout(FLUSH_LIMIT) {
            tracing::warn!(%error, "the last spans may not have been exported");
        }
    }
}

fn start_spans(service_name: &'static str, settings: SpanSettings) -> Result<Tracing, EnvError> {
    let (propagation, sampling) = (settings.propagation, settings.sampling);
    let provider = SdkTracerProvider::builder()
        .with_sampler(sampling.sampler())
        .with_resource(settings.attributes.resource(service_name))
        .with_span_processor(export::processor(settings)?)
        .build();
    Ok(Tracing {
        prompt: PromptExport::new(provider.clone()),
        provider,
        propagation,
        sampling,
    })
}
