//! Logs, and what leaves by OTLP: spans and metrics, by the `OTEL_*` names.
//!
//! `tracing` is for logs only; spans are made with the OpenTelemetry API directly, because a subscriber that runs
//! for every span costs several microseconds per request whether the span is sampled or not.
//!
//! # Variables
//!
//! Those of spans are read only when `OTEL_EXPORTER_OTLP_TRACES_ENABLED` is true, those of metrics when
//! `OTEL_EXPORTER_OTLP_METRICS_ENABLED` is. One that cannot be used stops the start.
//!
//! | variable | default | meaning |
//! | --- | --- | --- |
//! | `OTEL_EXPORTER_OTLP_TRACES_PROTOCOL` | `console` | `console`, `http/protobuf` or `grpc`, in any case |
//! | `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` | port 4318 or 4317 of localhost | used as it is; gRPC takes `host:port` too |
//! | `OTEL_EXPORTER_OTLP_ENDPOINT` | | in its absence; with HTTP `/v1/traces` is added |
//! | `OTEL_EXPORTER_OTLP_[TRACES_]INSECURE` | `false` | whether a gRPC `host:port` is plain text; a scheme wins over it |
//! | `OTEL_EXPORTER_OTLP_[TRACES_]HEADERS` | | `name=value,…`, percent-encoded; sent with every export |
//! | `OTEL_EXPORTER_OTLP_[TRACES_]TIMEOUT` | `10000` | of one export, in milliseconds (`5` is 5 ms, not 5 s) |
//! | `OTEL_EXPORTER_OTLP_[TRACES_]CERTIFICATE` | | PEM file of authorities to trust besides the system's |
//! | `OTEL_TRACES_SAMPLER` | `parentbased_always_on` | also `always_on`, `always_off`, `traceidratio` and their `parentbased_` forms |
//! | `OTEL_TRACES_SAMPLER_ARG` | `1` | the ratio, 0 to 1 |
//! | `OTEL_PROPAGATORS` | `tracecontext,baggage` | also `b3`, `b3multi` and `none` |
//! | `OTEL_BSP_SCHEDULE_DELAY` | `5000` | how long a span waits for others, in milliseconds |
//! | `OTEL_BSP_MAX_QUEUE_SIZE` | `2048` | how many spans may wait; more are dropped |
//! | `OTEL_BSP_MAX_EXPORT_BATCH_SIZE` | `512` | how many are sent at once, at most the queue |
//! | `OTEL_BSP_EXPORT_TIMEOUT` | `30000` | of one export and its repetitions, in milliseconds |
//! | `OTEL_RESOURCE_ATTRIBUTES` | | `name=value,…`, percent-encoded; `service.name` is ignored |
//!
//! Metrics go by OTLP/HTTP only. They have the variables of all signals with the spans, and those of the table with
//! `METRICS` in place of `TRACES`:
//!
//! | variable | default | meaning |
//! | --- | --- | --- |
//! | `OTEL_EXPORTER_OTLP_METRICS_ENDPOINT` | port 4318 of localhost | used as it is |
//! | `OTEL_EXPORTER_OTLP_ENDPOINT` | | in its absence; `/v1/metrics` is added |
//! | `OTEL_EXPORTER_OTLP_[METRICS_]HEADERS`, `_TIMEOUT`, `_CERTIFICATE` | | as for spans |
//! | `OTEL_EXPORTER_OTLP_METRICS_PROTOCOL` | `http/protobuf` | nothing else; `OTEL_EXPORTER_OTLP_PROTOCOL` has no effect |
//! | `OTEL_METRIC_EXPORT_INTERVAL` | `60000` | from one export to the next, in milliseconds |

use std::time::Duration;

use opentelemetry_sdk::trace::SdkTracerProvider;

use crate::env::{EnvError, Environment};

mod console;
mod export;
#[cfg(test)]
mod logged;
pub mod logs;
mod metrics;
mod otlp;
pub mod propagation;
mod sampling;
mod settings;

pub use logs::{FLAGS, LogConfig, LogLevel, LogLevelError, flags_help};
pub use metrics::{Instruments, MetricPush, Pushing};
pub use propagation::Propagation;
pub use sampling::Sampling;

use settings::SpanSettings;

/// How long a flush at the end may take.
pub const FLUSH_LIMIT: Duration = Duration::from_secs(5);

/// Spans are on: where they go, and by which rules.
#[derive(Debug, Clone)]
pub struct Tracing {
    /// Makes tracers.
    pub provider: SdkTracerProvider,
    /// Which headers.
    pub propagation: Propagation,
    /// Which spans.
    pub sampling: Sampling,
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
        crate::install_crypto_provider();
        let log_level = logs::install(logs, environment)?;
        let settings = SpanSettings::from_environment(environment)?;
        let tracing = settings
            .map(|settings| start_spans(service_name, settings))
            .transpose()?;
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
        provider,
        propagation,
        sampling,
    })
}
