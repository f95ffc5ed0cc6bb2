//! Logs, and the pipeline of OpenTelemetry spans by the `OTEL_*` names.
//!
//! `tracing` is for logs only; spans are made with the OpenTelemetry API directly, because a subscriber that runs
//! for every span costs several microseconds per request whether the span is sampled or not.

use opentelemetry_sdk::trace::SdkTracerProvider;

use crate::env::{EnvError, Environment};

/// What a program logs: level, format and time, by upstream's zap flags and `RUST_LOG`.
#[derive(Debug, Clone)]
pub struct LogConfig {}

/// The level of the logs; cheap to clone, changeable at run time.
#[derive(Clone)]
pub struct LogLevel {}

/// Which headers carry the trace context (`OTEL_PROPAGATORS`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Propagation {
    /// `tracecontext`: `traceparent` and `tracestate`.
    pub trace_context: bool,
    /// `baggage`: the header is passed on as it is.
    pub baggage: bool,
    /// `b3`: the single `b3` header.
    pub b3: bool,
    /// `b3multi`: the `X-B3-*` headers.
    pub b3_multi: bool,
}

/// How spans are sampled (`OTEL_TRACES_SAMPLER`, `OTEL_TRACES_SAMPLER_ARG`), as far as a caller needs to know beforehand.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Whether a parent's decision is followed.
    pub parent_based: bool,
    /// The share of root spans that is sampled, 0 to 1.
    pub root_ratio: f64,
}

/// Spans are on: where they go, and by which rules.
#[derive(Clone)]
pub struct Tracing {
    /// Makes tracers.
    pub provider: SdkTracerProvider,
    /// Which headers.
    pub propagation: Propagation,
    /// Which spans.
    pub sampling: Sampling,
}

/// The telemetry of a process; dropping it flushes what is buffered, for at most a few seconds.
pub struct Telemetry {}

impl LogConfig {
    /// From the command line (`--zap-log-level`, `--zap-encoder`, `--zap-time-encoding`, `--zap-devel`, `--zap-stacktrace-level`, with one
    /// dash or two, `=value` or the next argument) and `RUST_LOG`. An unknown flag is an error that names the known ones.
    pub fn from_args(args: impl IntoIterator<Item = String>) -> Result<Self, EnvError> {
        let _: Vec<String> = args.into_iter().collect();
        todo!()
    }
}

impl Telemetry {
    /// Installs the logs, and the span pipeline when `OTEL_EXPORTER_OTLP_TRACES_ENABLED` is true. `service_name` is fixed
    /// (`OTEL_SERVICE_NAME` does not change it, as upstream). Exports run on `runtime`, never on the data path's threads.
    ///
    /// # Errors
    /// When a variable cannot be used.
    pub fn start(service_name: &'static str, logs: &LogConfig, environment: &Environment, runtime: &tokio::runtime::Handle) -> Result<Self, EnvError> {
        let _ = (service_name, logs, environment, runtime);
        todo!()
    }

    /// The spans, when they are on.
    pub fn tracing(&self) -> Option<Tracing> {
        todo!()
    }

    /// The level of the logs.
    pub fn log_level(&self) -> LogLevel {
        todo!()
    }
}
