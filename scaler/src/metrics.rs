//! The scaler's own metrics: upstream's names, and ours.

use std::fmt::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use keda_http_runtime::telemetry::Instruments as Pushed;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// The service name, as upstream's.
pub const SERVICE_NAME: &str = "keda-http-external-scaler";

/// Upstream's histogram bounds for polls, in seconds.
const FETCH_BOUNDS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0];
/// Histogram bounds from a report's arrival to its signal, in seconds. Tens of microseconds are normal.
const SIGNAL_BOUNDS: [f64; 10] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.1, 1.0,
];

/// The instruments; cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    instruments: Arc<Instruments>,
    registry: Arc<Registry>,
}

struct Instruments {
    fetch_duration: Histogram,
    fetch_errors: Counter,
    unreachable: Gauge,
    endpoints: Gauge,
    reports: Family<ReportLabels, Counter>,
    streams: Family<StreamLabels, Gauge>,
    signals: Counter,
    signal_delay: Histogram,
    leader: Gauge,
    controller_failures: Family<ControllerLabels, Counter>,
}

/// How a report was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum ReportKind {
    /// On the gRPC stream.
    Stream,
    /// By polling `/queue`.
    Queue,
}

impl EncodeLabelValue for ReportKind {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(match self {
            Self::Stream => "stream",
            Self::Queue => "queue",
        })
    }
}

/// A stream that KEDA holds open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum StreamKind {
    /// `StreamIsActive`
    StreamIsActive,
    /// `StreamMetricSpec`
    StreamMetricSpec,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReportLabels {
    source: ReportKind,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StreamLabels {
    rpc: StreamKind,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ControllerLabels {
    controller: &'static str,
}

/// A stream counts as open until this is dropped.
pub(crate) struct OpenStream {
    gauge: Gauge,
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

impl Metrics {
    /// A poll of `/queue` has ended.
    pub(crate) fn fetched(&self, took: Duration, failed: bool) {
        self.instruments.fetch_duration.observe(took.as_secs_f64());
        if failed {
            self.instruments.fetch_errors.inc();
        }
    }

    /// How many interceptors there are, and how many of them cannot be reached.
    pub(crate) fn interceptors(&self, total: usize, unreachable: usize) {
        self.instruments.endpoints.set(i64::try_from(total).unwrap_or(i64::MAX));
        self.instruments
            .unreachable
            .set(i64::try_from(unreachable).unwrap_or(i64::MAX));
    }

    /// A report was applied.
    pub(crate) fn reported(&self, source: ReportKind) {
        self.instruments.reports.get_or_create(&ReportLabels { source }).inc();
    }

    /// KEDA opened a stream.
    pub(crate) fn stream_opened(&self, rpc: StreamKind) -> OpenStream {
        let gauge = self.instruments.streams.get_or_create_owned(&StreamLabels { rpc });
        gauge.inc();
        OpenStream { gauge }
    }

    /// A `true` was sent to KEDA, `delay` after its cause.
    pub(crate) fn signalled(&self, delay: Duration) {
        self.instruments.signals.inc();
        self.instruments.signal_delay.observe(delay.as_secs_f64());
    }

    /// Whether this replica is the leader.
    pub(crate) fn leads(&self, leads: bool) {
        self.instruments.leader.set(i64::from(leads));
    }

    /// A controller failed and is started again.
    pub(crate) fn controller_failed(&self, controller: &'static str) {
        self.instruments
            .controller_failures
            .get_or_create(&ControllerLabels { controller })
            .inc();
    }

    /// What is pushed: the same, with upstream's scope.
    pub(crate) fn pushed(&self) -> Pushed {
        Pushed {
            scope: "keda-external-scaler",
            registry: self.registry.clone(),
            integers: &[],
            names: &[],
        }
    }

    /// What a scrape reads.
    pub(crate) fn registry(&self) -> Arc<Registry> {
        self.registry.clone()
    }

    /// All of it in the OpenMetrics text format.
    pub fn encode(&self) -> String {
        let mut body = String::new();
        // Writing to a String cannot fail.
        let _ = text::encode(&mut body, &self.registry);
        body
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let instruments = Instruments::new();
        let registry = instruments.registry();
        Self {
            instruments: Arc::new(instruments),
            registry: Arc::new(registry),
        }
    }
}

impl Instruments {
    fn new() -> Self {
        Self {
            fetch_duration: Histogram::new(FETCH_BOUNDS),
            fetch_errors: Counter::default(),
            unreachable: Gauge::default(),
            endpoints: Gauge::default(),
            reports: Family::default(),
            streams: Family::default(),
            signals: Counter::default(),
            signal_delay: Histogram::new(SIGNAL_BOUNDS),
            leader: Gauge::default(),
            controller_failures: Family::default(),
        }
    }

    /// Instruments share their values with their clones in the registry.
    fn registry(&self) -> Registry {
        let mut registry = Registry::default();
        let target = vec![
            ("service_name", SERVICE_NAME),
            ("service_version", env!("CARGO_PKG_VERSION")),
        ];
        registry.register("target", "What is measured", Info::new(target));
        self.register_upstream(&mut registry);
        self.register_ours(&mut registry);
        self.register_controllers(&mut registry);
        registry
    }

    fn register_upstream(&self, registry: &mut Registry) {
        let pinger = registry.sub_registry_with_prefix("scaler_pinger");
        let duration = self.fetch_duration.clone();
        pinger.register_with_unit("fetch_duration", "Duration of polls of /queue", Unit::Seconds, duration);
        pinger.register("fetch_errors", "Polls of /queue that failed", self.fetch_errors.clone());
        pinger.register(
            "unreachable_pods",
            "Interceptors that cannot be reached",
            self.unreachable.clone(),
        );
        pinger.register("endpoints", "Interceptors that are known", self.endpoints.clone());
    }

    fn register_ours(&self, registry: &mut Registry) {
        let scaler = registry.sub_registry_with_prefix("scaler");
        scaler.register("reports", "Reports received from interceptors", self.reports.clone());
        scaler.register("streams", "Streams that KEDA holds open", self.streams.clone());
        scaler.register(
            "signals",
            "Signals to KEDA that a target is active",
            self.signals.clone(),
        );
        let delay = self.signal_delay.clone();
        scaler.register_with_unit(
            "signal_delay",
            "From a signal's cause to the signal",
            Unit::Seconds,
            delay,
        );
    }

    fn register_controllers(&self, registry: &mut Registry) {
        let scaler = registry.sub_registry_with_prefix("scaler");
        scaler.register("leader", "Whether this replica is the leader", self.leader.clone());
        let failures = self.controller_failures.clone();
        scaler.register("controller_failures", "Times a controller failed", failures);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstreams_names_are_there_and_open_streams_are_counted_until_they_end() {
        let metrics = Metrics::default();
        metrics.fetched(Duration::from_millis(7), true);
        metrics.interceptors(3, 1);
        metrics.reported(ReportKind::Queue);
        metrics.signalled(Duration::from_micros(60));
        metrics.leads(true);
        metrics.controller_failed("conditions");
        let stream = metrics.stream_opened(StreamKind::StreamIsActive);
        let text = metrics.encode();
        for line in [
            "scaler_pinger_fetch_duration_seconds_bucket{le=\"0.01\"} 1",
            "scaler_pinger_fetch_errors_total 1",
            "scaler_pinger_unreachable_pods 1",
            "scaler_pinger_endpoints 3",
            "scaler_reports_total{source=\"queue\"} 1",
            "scaler_streams{rpc=\"StreamIsActive\"} 1",
            "scaler_signals_total 1",
            "scaler_leader 1",
            "scaler_controller_failures_total{controller=\"conditions\"} 1",
            "target_info{service_name=\"keda-http-external-scaler\"",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        drop(stream);
        assert!(metrics.encode().contains("scaler_streams{rpc=\"StreamIsActive\"} 0"));
    }
}
