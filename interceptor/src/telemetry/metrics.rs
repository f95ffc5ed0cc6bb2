//! The interceptor's instruments, by upstream's names and labels.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use keda_http_core::target::TargetKey;
use keda_http_kubernetes::source::Freshness;
use keda_http_runtime::admin;
use keda_http_runtime::telemetry::Instruments;
use parking_lot::{Mutex, RwLock};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use crate::counters::pending::PendingRequests;

/// The service name, as upstream's.
pub const SERVICE_NAME: &str = "keda-http-interceptor";

/// What upstream calls its instruments where it pushes them.
const PUSHED_NAMES: [(&str, &str); 5] = [
    ("interceptor_request_count", "interceptor.request.count"),
    ("interceptor_request_duration_seconds", "interceptor.request.duration"),
    ("interceptor_request_concurrency", "interceptor.request.concurrency"),
    (
        "interceptor_cold_start_duration_seconds",
        "interceptor.cold_start.duration",
    ),
    ("interceptor_cold_start_rejections", "interceptor.cold_start.rejections"),
];
/// Seconds; upstream's bounds, up to the longest hold that is usual.
const DURATION_BUCKETS: [f64; 19] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0,
];

/// All instruments. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Metrics {
    registry: Arc<Registry>,
    families: Arc<Families>,
    /// The caches in use: a route that is changed, or comes back while its last requests run, keeps its own.
    caches: Caches,
    /// Failed dials; another try follows each.
    pub(crate) dial_failures: Counter,
    /// Requests that were sent again because a connection closed before they were answered.
    pub(crate) replays: Counter,
    /// Connections that were ended because of what the client sent.
    pub(crate) protocol_errors: Counter,
    /// Routes that are live.
    pub(crate) routes: Gauge,
    /// Objects and files that could not be used, as it stands now.
    pub(crate) problems: Gauge,
    unmatched: Arc<SeriesCache>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    code: u32,
    method: Method,
    route_name: Arc<str>,
    route_namespace: Arc<str>,
    cold_start: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ColdStartLabels {
    outcome: ColdStartOutcome,
    route_name: Arc<str>,
    route_namespace: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route_name: Arc<str>,
    route_namespace: Arc<str>,
}

/// How a hold ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(
    non_camel_case_types,
    reason = "the variants are the label values of upstream's metric"
)]
pub(crate) enum ColdStartOutcome {
    /// An endpoint was reached.
    ready,
    /// Time ran out.
    timeout,
    /// The client went away.
    cancelled,
}

/// The request method as a label: the nine of the standard, and one for all others, so that clients cannot make series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(
    clippy::upper_case_acronyms,
    reason = "the variants are the label values of upstream's metric"
)]
pub(crate) enum Method {
    GET,
    HEAD,
    POST,
    PUT,
    PATCH,
    DELETE,
    CONNECT,
    OPTIONS,
    TRACE,
    _OTHER,
}

impl Method {
    pub(crate) fn from_http(method: &http::Method) -> Self {
        match *method {
            http::Method::GET => Self::GET,
            http::Method::HEAD => Self::HEAD,
            http::Method::POST => Self::POST,
            http::Method::PUT => Self::PUT,
            http::Method::PATCH => Self::PATCH,
            http::Method::DELETE => Self::DELETE,
            http::Method::CONNECT => Self::CONNECT,
            http::Method::OPTIONS => Self::OPTIONS,
            http::Method::TRACE => Self::TRACE,
            _ => Self::_OTHER,
        }
    }
}

/// The labels by which the series of one route differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The request's method.
    pub(crate) method: Method,
    /// The response's status.
    pub(crate) status: u16,
    /// Whether the request had to wait.
    pub(crate) cold: bool,
}

/// The series of one route that have been used, so that a request finds its own without building labels. When the
/// route goes, dropping this takes its series out of the registry.
pub(crate) struct SeriesCache {
    metrics: Arc<Families>,
    /// `None`: requests without a route.
    key: Option<TargetKey>,
    series: RwLock<Vec<(Outcome, Arc<Series>)>>,
    /// Where it is found again as long as it lives.
    caches: Option<Caches>,
}

type Caches = Arc<Mutex<HashMap<TargetKey, Weak<SeriesCache>>>>;

struct Families {
    requests: Family<RequestLabels, Counter>,
    durations: Family<RequestLabels, Histogram, fn() -> Histogram>,
    cold_starts: Family<ColdStartLabels, Histogram, fn() -> Histogram>,
    rejections: Family<RouteLabels, Counter>,
}

struct Series {
    count: Counter,
    duration: Histogram,
}

impl Families {
    fn register(registry: &mut Registry) -> Self {
        let families = Self {
            requests: Family::default(),
            durations: Family::new_with_constructor(duration_histogram as fn() -> Histogram),
            cold_starts: Family::new_with_constructor(duration_histogram as fn() -> Histogram),
            rejections: Family::default(),
        };
        let help = "Requests by route, method, status and whether they had to wait";
        registry.register("interceptor_request_count", help, families.requests.clone());
        let help = "From arrival to the end of the response, the hold included";
        registry.register("interceptor_request_duration_seconds", help, families.durations.clone());
        let help = "How long held requests were held";
        registry.register(
            "interceptor_cold_start_duration_seconds",
            help,
            families.cold_starts.clone(),
        );
        let help = "Requests that were refused because too many were held already";
        registry.register("interceptor_cold_start_rejections", help, families.rejections.clone());
        families
    }
}

fn duration_histogram() -> Histogram {
    Histogram::new(DURATION_BUCKETS)
}

impl Metrics {
    /// Registers the instruments; `pending` and `freshness` are read when they are scraped.
    pub(crate) fn new(pending: PendingRequests, freshness: watch::Receiver<Freshness>) -> Self {
        let mut registry = admin::registry(SERVICE_NAME);
        let families = Arc::new(Families::register(&mut registry));
        let (dial_failures, replays) = (Counter::default(), Counter::default());
        let (routes, problems) = (Gauge::default(), Gauge::default());
        let help = "Failed dials of ready endpoints; another try followed each";
        registry.register("interceptor_upstream_dial_failures", help, dial_failures.clone());
        let help = "Requests sent again because a connection closed before they were answered";
        registry.register("interceptor_upstream_replays", help, replays.clone());
        let protocol_errors = Counter::default();
        let help = "Connections and HTTP/2 streams ended because the client broke HTTP or one of its limits";
        registry.register("interceptor_protocol_errors", help, protocol_errors.clone());
        registry.register("interceptor_routes", "Routes that are live", routes.clone());
        let help = "Files and objects that are not valid";
        registry.register("interceptor_source_problems", help, problems.clone());
        registry.register_collector(Box::new(Concurrency(pending)));
        registry.register_collector(Box::new(Age(freshness)));
        Self {
            registry: Arc::new(registry),
            unmatched: Arc::new(SeriesCache::new(families.clone(), None, None)),
            families,
            caches: Arc::default(),
            dial_failures,
            replays,
            protocol_errors,
            routes,
            problems,
        }
    }

    /// The series of a route.
    pub(crate) fn for_route(&self, key: &TargetKey) -> Arc<SeriesCache> {
        let mut caches = self.caches.lock();
        if let Some(cache) = caches.get(key).and_then(Weak::upgrade) {
            return cache;
        }
        let cache = SeriesCache::new(self.families.clone(), Some(key.clone()), Some(self.caches.clone()));
        let cache = Arc::new(cache);
        caches.insert(key.clone(), Arc::downgrade(&cache));
        cache
    }

    /// The series of requests without a route.
    pub(crate) fn unmatched(&self) -> Arc<SeriesCache> {
        self.unmatched.clone()
    }

    /// What is pushed: the same, with upstream's scope and its kinds of attributes.
    pub(crate) fn instruments(&self) -> Instruments {
        Instruments {
            scope: "keda-interceptor-proxy",
            registry: self.registry.clone(),
            integers: &["code"],
            names: &PUSHED_NAMES,
        }
    }

    /// What a scrape reads.
    pub(crate) fn registry(&self) -> Arc<Registry> {
        self.registry.clone()
    }
}

impl SeriesCache {
    fn new(metrics: Arc<Families>, key: Option<TargetKey>, caches: Option<Caches>) -> Self {
        Self {
            metrics,
            key,
            series: RwLock::default(),
            caches,
        }
    }

    /// Name and namespace, as labels.
    fn route(&self) -> (Arc<str>, Arc<str>) {
        let parts = self.key.as_ref().map(|key| (key.name(), key.namespace()));
        let (name, namespace) = parts.unwrap_or_default();
        (name.into(), namespace.into())
    }

    /// Counts and measures a request that has ended.
    pub(crate) fn observe(&self, outcome: Outcome, duration: Duration) {
        let series = self.find(outcome).unwrap_or_else(|| self.make(outcome));
        series.count.inc();
        series.duration.observe(duration.as_secs_f64());
    }

    /// Measures a hold that has ended.
    pub(crate) fn observe_cold_start(&self, outcome: ColdStartOutcome, held: Duration) {
        let labels = self.cold_start_labels(outcome);
        self.metrics
            .cold_starts
            .get_or_create(&labels)
            .observe(held.as_secs_f64());
    }

    /// Counts a request that was not held because too many were.
    pub(crate) fn reject(&self) {
        self.metrics.rejections.get_or_create(&self.route_labels()).inc();
    }

    fn route_labels(&self) -> RouteLabels {
        let (route_name, route_namespace) = self.route();
        RouteLabels {
            route_name,
            route_namespace,
        }
    }

    fn find(&self, outcome: Outcome) -> Option<Arc<Series>> {
        let series = self.series.read();
        series
            .iter()
            .find(|(of, _)| *of == outcome)
            .map(|(_, series)| series.clone())
    }

    fn make(&self, outcome: Outcome) -> Arc<Series> {
        let mut series = self.series.write();
        if let Some((_, series)) = series.iter().find(|(of, _)| *of == outcome) {
            return series.clone();
        }
        let labels = self.labels(outcome);
        let made = Arc::new(Series {
            count: self.metrics.requests.get_or_create(&labels).clone(),
            duration: self.metrics.durations.get_or_create(&labels).clone(),
        });
        series.push((outcome, made.clone()));
        made
    }

    fn labels(&self, outcome: Outcome) -> RequestLabels {
        let (route_name, route_namespace) = self.route();
        RequestLabels {
            code: outcome.status.into(),
            method: outcome.method,
            route_name,
            route_namespace,
            cold_start: outcome.cold,
        }
    }

    fn cold_start_labels(&self, outcome: ColdStartOutcome) -> ColdStartLabels {
        let (route_name, route_namespace) = self.route();
        ColdStartLabels {
            outcome,
            route_name,
            route_namespace,
        }
    }
}

impl Drop for SeriesCache {
    fn drop(&mut self) {
        let (Some(key), Some(caches)) = (&self.key, self.caches.take()) else {
            return;
        };
        let mut caches = caches.lock();
        if caches.get(key).is_some_and(|cache| cache.strong_count() > 0) {
            // The route is back, and its series with it.
            return;
        }
        caches.remove(key);
        self.unregister();
    }
}

impl SeriesCache {
    fn unregister(&mut self) {
        for (outcome, _) in std::mem::take(self.series.get_mut()) {
            let labels = self.labels(outcome);
            self.metrics.requests.remove(&labels);
            self.metrics.durations.remove(&labels);
        }
        for outcome in [
            ColdStartOutcome::ready,
            ColdStartOutcome::timeout,
            ColdStartOutcome::cancelled,
        ] {
            self.metrics.cold_starts.remove(&self.cold_start_labels(outcome));
        }
        self.metrics.rejections.remove(&self.route_labels());
    }
}

/// `interceptor_routing_table_age_seconds`, worked out when it is scraped.
#[derive(Debug)]
struct Age(watch::Receiver<Freshness>);

impl Collector for Age {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let age = self.0.borrow().age();
        let encoder = encoder.encode_descriptor(
            "interceptor_routing_table_age_seconds",
            "Time since routes and endpoints were last current; 0 while they are",
            None,
            prometheus_client::metrics::MetricType::Gauge,
        )?;
        ConstGauge::new(age.as_secs_f64()).encode(encoder)
    }
}

/// `interceptor_request_concurrency`, read from the counters when it is scraped.
#[derive(Clone)]
struct Concurrency(PendingRequests);

impl std::fmt::Debug for Concurrency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Concurrency")
    }
}

impl Collector for Concurrency {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let counts = self.0.snapshot();
        if counts.is_empty() {
            return Ok(());
        }
        let mut family = encoder.encode_descriptor(
            "interceptor_request_concurrency",
            "Requests pending now, by route",
            None,
            prometheus_client::metrics::MetricType::Gauge,
        )?;
        for (key, counts) in counts {
            let labels = RouteLabels {
                route_name: key.name().into(),
                route_namespace: key.namespace().into(),
            };
            let pending = ConstGauge::new(i64::try_from(counts.pending).unwrap_or(i64::MAX));
            pending.encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
