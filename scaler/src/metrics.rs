//! The scaler's own metrics: upstream's names, and ours.

use std::sync::Arc;
use std::time::Duration;

use keda_http_runtime::admin;
use keda_http_runtime::telemetry::Instruments as Pushed;
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry, Unit};

/// The service name, as upstream's.
pub(crate) const SERVICE_NAME: &str = "keda-http-external-scaler";

/// Upstream's histogram bounds for polls, in seconds.
const FETCH_BOUNDS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0];
/// Histogram bounds from a report's arrival to its signal, in seconds. Tens of microseconds are normal.
const SIGNAL_BOUNDS: [f64; 10] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.1, 1.0,
];

/// The instruments; cheap to clone.
#[derive(Clone)]
pub struct Metrics(Arc<Instruments>);

struct Instruments {
    registry: Arc<Registry>,
    fetch_duration: Histogram,
    fetch_errors: Counter,
    unreachable: Gauge,
    endpoints: Gauge,
    reports: Labelled<Counter>,
    streams: Labelled<Gauge>,
    signals: Counter,
    signal_delay: Histogram,
    leader: Gauge,
    controller_failures: Labelled<Counter>,
}

/// A metric for each value of one label.
type Labelled<M> = Family<[(&'static str, &'static str); 1], M>;

/// How a report was received.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ReportKind {
    /// On the gRPC stream.
    Stream,
    /// By polling `/queue`.
    Queue,
}

/// A stream counts as open until this is dropped.
pub(crate) struct OpenStream(Gauge);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// A poll of `/queue` has ended.
    pub(crate) fn fetched(&self, took: Duration, failed: bool) {
        self.0.fetch_duration.observe(took.as_secs_f64());
        self.0.fetch_errors.inc_by(u64::from(failed));
    }

    /// How many interceptors there are, and how many of them cannot be reached.
    pub(crate) fn interceptors(&self, total: usize, unreachable: usize) {
        self.0.endpoints.set(i64::try_from(total).unwrap_or(i64::MAX));
        self.0.unreachable.set(i64::try_from(unreachable).unwrap_or(i64::MAX));
    }

    /// A report was applied.
    pub(crate) fn reported(&self, source: ReportKind) {
        let source = match source {
            ReportKind::Stream => "stream",
            ReportKind::Queue => "queue",
        };
        self.0.reports.get_or_create(&[("source", source)]).inc();
    }

    /// KEDA opened a stream, by the name of its method.
    pub(crate) fn stream_opened(&self, rpc: &'static str) -> OpenStream {
        let gauge = self.0.streams.get_or_create_owned(&[("rpc", rpc)]);
        gauge.inc();
        OpenStream(gauge)
    }

    /// A `true` was sent to KEDA, `delay` after its cause.
    pub(crate) fn signalled(&self, delay: Duration) {
        self.0.signals.inc();
        self.0.signal_delay.observe(delay.as_secs_f64());
    }

    /// Whether this replica is the leader.
    pub(crate) fn leads(&self, leads: bool) {
        self.0.leader.set(i64::from(leads));
    }

    /// A controller failed and is started again.
    pub(crate) fn controller_failed(&self, controller: &'static str) {
        let labels = [("controller", controller)];
        self.0.controller_failures.get_or_create(&labels).inc();
    }

    /// What is pushed: the same, with upstream's scope.
    pub(crate) fn pushed(&self) -> Pushed {
        Pushed {
            scope: "keda-external-scaler",
            registry: self.registry(),
            integers: &[],
            names: &[],
        }
    }

    /// What a scrape reads.
    pub(crate) fn registry(&self) -> Arc<Registry> {
        self.0.registry.clone()
    }

    /// All of it in the OpenMetrics text format.
    pub fn encode(&self) -> String {
        let mut body = String::new();
        // Writing to a String cannot fail.
        let _ = text::encode(&mut body, &self.0.registry);
        body
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = admin::registry(SERVICE_NAME);
        let mut register = Register(registry.sub_registry_with_prefix("scaler_pinger"));
        let (fetches, signals) = (Histogram::new(FETCH_BOUNDS), Histogram::new(SIGNAL_BOUNDS));
        let fetch_duration = register.seconds("fetch_duration", "Duration of polls of /queue", fetches);
        let fetch_errors = register.metric("fetch_errors", "Polls of /queue that failed");
        let unreachable = register.metric("unreachable_pods", "Interceptors that cannot be reached");
        let endpoints = register.metric("endpoints", "Interceptors that are known");
        let mut register = Register(registry.sub_registry_with_prefix("scaler"));
        Self(Arc::new(Instruments {
            fetch_duration,
            fetch_errors,
            unreachable,
            endpoints,
            reports: register.metric("reports", "Reports received from interceptors"),
            streams: register.metric("streams", "Streams that KEDA holds open"),
            signals: register.metric("signals", "Signals to KEDA that a target is active"),
            signal_delay: register.seconds("signal_delay", "From a signal's cause to the signal", signals),
            leader: register.metric("leader", "Whether this replica is the leader"),
            controller_failures: register.metric("controller_failures", "Times a controller failed"),
            registry: Arc::new(registry),
        }))
    }
}

/// Registers instruments, which share their values with their clones in the registry.
struct Register<'a>(&'a mut Registry);

impl Register<'_> {
    fn metric<M: Metric + Clone + Default>(&mut self, name: &str, help: &str) -> M {
        let metric = M::default();
        self.0.register(name, help, metric.clone());
        metric
    }

    fn seconds(&mut self, name: &str, help: &str, metric: Histogram) -> Histogram {
        self.0.register_with_unit(name, help, Unit::Seconds, metric.clone());
        metric
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
        let stream = metrics.stream_opened("StreamIsActive");
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
