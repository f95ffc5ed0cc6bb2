//! All settings of the interceptor: a struct and a reader for each part. The help of a variable stands where it is
//! read; the fields say why a default is what it is.

mod routing;

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use keda_http_core::duration;
use keda_http_runtime::settings::{BOOLEAN, DIRECTORY, DNS_LABEL, Kind, PORT, Settings, TEXT, WHOLE_NUMBER};

pub use routing::{HostOwnership, RoutingConfig};

/// Everything that can be set from outside.
#[derive(Debug, Clone)]
pub struct Config {
    /// Addresses and threads.
    pub listen: Listen,
    /// Where routes and endpoints come from.
    pub source: SourceConfig,
    /// How routes are made from the objects.
    pub routing: RoutingConfig,
    /// Time limits.
    pub timeouts: TimeoutConfig,
    /// Requests without an endpoint.
    pub cold_start: ColdStartConfig,
    /// Connections to endpoints.
    pub upstream: UpstreamConfig,
    /// How the interceptor stops.
    pub shutdown: ShutdownConfig,
    /// Responses and the access log.
    pub responses: ResponseConfig,
}

/// Addresses and threads.
#[derive(Debug, Clone)]
pub struct Listen {
    /// Of all ports.
    pub address: IpAddr,
    /// For requests; 0 is any free port, as for the others.
    pub proxy_port: u16,
    /// For probes, counters and reports.
    pub admin_port: u16,
    /// For metrics; `None` switches the port off.
    pub metrics_port: Option<u16>,
    /// Threads for requests.
    pub workers: usize,
}

/// The source of objects.
#[derive(Debug, Clone)]
pub enum SourceConfig {
    /// A directory of manifests.
    Manifests(PathBuf),
    /// The API server.
    Cluster(ClusterConfig),
}

/// What is read from the API server.
#[derive(Debug, Clone)]
pub struct ClusterConfig {
    /// The only namespace, for every kind, as upstream; `None` is all of them.
    pub watch_namespace: Option<String>,
}

/// Time limits. Routes may override the first three.
#[derive(Debug, Clone)]
pub struct TimeoutConfig {
    /// For a whole request; none by default, because long downloads and streams are legitimate.
    pub request: Option<Duration>,
    /// For a hold.
    pub readiness: ReadinessTimeout,
    /// From the request sent to the first response header; 300 s by default, as upstream.
    pub response_header: Option<Duration>,
    /// For one connection attempt; 500 ms by default, as upstream: a pod answers in far less or is not there.
    pub connect: Duration,
    /// For the head of a request, from its first byte; 60 s by default, as upstream.
    pub request_head: Duration,
}

/// How long a request is held when its route does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadinessTimeout {
    /// Not set: 20 minutes, longer than slow image pulls, so that no request is held for ever; 30 s when the route has
    /// a fallback, as upstream.
    Default,
    /// As set; zero is no limit (and 30 s when the route has a fallback, as upstream).
    Set(Duration),
}

/// Requests without an endpoint.
#[derive(Debug, Clone, Copy)]
pub struct ColdStartConfig {
    /// How many requests of one route this interceptor holds; `None` is any number, the default, as upstream.
    pub max_pending: Option<NonZeroU32>,
}

/// What routes are bound with where they do not say otherwise.
#[derive(Debug, Clone)]
pub struct RouteDefaults {
    /// Time limits.
    pub timeouts: TimeoutConfig,
    /// Requests without an endpoint.
    pub cold_start: ColdStartConfig,
}

/// Connections to endpoints.
#[derive(Debug, Clone)]
pub struct UpstreamConfig {
    /// 200 by default, as upstream; the workers share them.
    pub max_idle_per_endpoint: usize,
    /// Idle connections are closed after this; 90 s, as in Go's transport.
    pub idle_timeout: Duration,
}

/// How the interceptor stops.
#[derive(Debug, Clone)]
pub struct ShutdownConfig {
    /// Not ready, but still accepting; 5 s by default, as upstream: until every proxy has stopped sending requests.
    pub delay: Duration,
    /// Then what is left is cut; 30 s by default, as upstream. `None` is no limit.
    pub drain: Option<Duration>,
}

/// Responses and the access log.
#[derive(Debug, Clone)]
pub struct ResponseConfig {
    /// True by default, as upstream.
    pub cold_start_header: bool,
    /// False by default, as upstream.
    pub log_requests: bool,
    /// Lower by default, as hyper keeps names; the Go add-on writes Title-Case, which costs a look at each byte.
    pub header_names: HeaderNameCase,
}

/// How header names are written on HTTP/1.1, to clients and to endpoints. Names mean the same in any case (RFC 9110
/// section 5.1), but old clients compare them byte by byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderNameCase {
    /// `content-type`, as in HTTP/2.
    Lower,
    /// `Content-Type`, as the Go add-on writes them.
    Title,
}

impl Config {
    /// Reads all settings.
    pub fn read(settings: &Settings) -> Self {
        let config = Self {
            listen: Listen::read(&settings.section("Listeners")),
            source: SourceConfig::read(&settings.section("Routes and endpoints")),
            routing: RoutingConfig::read(&settings.section("Routes and endpoints")),
            timeouts: TimeoutConfig::read(&settings.section("Time limits")),
            cold_start: ColdStartConfig::read(&settings.section("Cold starts")),
            upstream: UpstreamConfig::read(&settings.section("Connections to endpoints")),
            shutdown: ShutdownConfig::read(&settings.section("Shutdown")),
            responses: ResponseConfig::read(&settings.section("Responses and access log")),
        };
        read_without_effect(&settings.section("Accepted for compatibility"));
        config
    }
}

impl Listen {
    fn read(settings: &Settings) -> Self {
        let is_served = settings
            .variable("OTEL_PROM_EXPORTER_ENABLED", &BOOLEAN, "Serve /metrics")
            .default(true);
        let metrics_port = settings.variable("OTEL_PROM_EXPORTER_PORT", &PORT, "Port for /metrics");
        let metrics_port = metrics_port.default(2223);
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let workers = settings.variable("KEDA_HTTP_WORKERS", &WORKERS, "Threads for requests");
        Self {
            proxy_port: settings
                .variable(
                    "KEDA_HTTP_PROXY_PORT",
                    &PORT,
                    "Port for requests, HTTP/1.1 and HTTP/2 in plain text (h2c)",
                )
                .required(),
            admin_port: settings
                .variable(
                    "KEDA_HTTP_ADMIN_PORT",
                    &PORT,
                    "Port for probes, /queue, /routes, /config, /log-level and the gRPC reports to scalers",
                )
                .required(),
            metrics_port: is_served.then_some(metrics_port),
            address: settings
                .variable("KEDA_HTTP_BIND_ADDRESS", &IP, "Address of all ports")
                .default_described(Ipv6Addr::UNSPECIFIED.into(), "::, which includes IPv4"),
            workers: workers.default_described(cpus, "one for each CPU"),
        }
    }
}

impl SourceConfig {
    fn read(settings: &Settings) -> Self {
        let manifests = settings
            .variable(
                "KEDA_HTTP_MANIFESTS",
                &DIRECTORY,
                "Directory of manifests to read instead of the API server; changes take effect at once",
            )
            .optional("not set: the API server");
        let cluster = settings.only_if(manifests.is_none());
        cluster
            .variable(
                "KUBECONFIG",
                &TEXT,
                "File that says how to reach the API server from outside the cluster",
            )
            .optional("not set: the pod's service account, or ~/.kube/config");
        let watch_namespace = cluster
            .variable(
                "KEDA_HTTP_WATCH_NAMESPACE",
                &DNS_LABEL,
                "The only namespace whose objects are read",
            )
            .optional("not set: all namespaces");
        match manifests {
            Some(directory) => Self::Manifests(directory),
            None => Self::Cluster(ClusterConfig { watch_namespace }),
        }
    }
}

impl TimeoutConfig {
    fn read(settings: &Settings) -> Self {
        // Upstream's deprecated names win when they are set to more than zero.
        let readiness = settings
            .variable(
                "KEDA_HTTP_READINESS_TIMEOUT",
                &DURATION,
                "How long a request is held while its route has no ready endpoint (0s: no limit)",
            )
            .replaces("KEDA_CONDITION_WAIT_TIMEOUT", |limit| !limit.is_zero());
        let response_header = settings
            .variable(
                "KEDA_HTTP_RESPONSE_HEADER_TIMEOUT",
                &LIMIT,
                "From the request sent to the first response header",
            )
            .replaces("KEDA_RESPONSE_HEADER_TIMEOUT", Option::is_some);
        Self {
            readiness: readiness
                .optional("20m, or 30s for a route with a fallback")
                .map_or(ReadinessTimeout::Default, ReadinessTimeout::Set),
            request: settings
                .variable(
                    "KEDA_HTTP_REQUEST_TIMEOUT",
                    &LIMIT,
                    "For a whole request, the hold included",
                )
                .default(None),
            response_header: response_header.default(Some(Duration::from_secs(300))),
            connect: settings
                .variable(
                    "KEDA_HTTP_CONNECT_TIMEOUT",
                    &DURATION,
                    "For one connection attempt to an endpoint",
                )
                .default(Duration::from_millis(500)),
            request_head: settings
                .variable(
                    "KEDA_HTTP_REQUEST_HEAD_TIMEOUT",
                    &HEAD_LIMIT,
                    "For the head of a request, from its first byte",
                )
                .default(REQUEST_HEAD),
        }
    }
}

impl ReadinessTimeout {
    /// The limit for a route; `None` is no limit.
    pub fn limit(self, route: Option<Duration>, has_fallback: bool) -> Option<Duration> {
        const WITH_FALLBACK: Duration = Duration::from_secs(30);
        const DEFAULT: Duration = Duration::from_secs(20 * 60);
        match (route, self) {
            (Some(own), _) | (None, Self::Set(own)) if !own.is_zero() => Some(own),
            _ if has_fallback => Some(WITH_FALLBACK),
            (None, Self::Default) => Some(DEFAULT),
            _ => None,
        }
    }
}

impl ColdStartConfig {
    fn read(settings: &Settings) -> Self {
        let max_pending = settings.variable(
            "KEDA_HTTP_COLD_START_MAX_PENDING_REQUESTS",
            &MAX_PENDING,
            "How many requests are held for one route; further ones are refused",
        );
        Self {
            max_pending: max_pending.default(None),
        }
    }
}

impl UpstreamConfig {
    fn read(settings: &Settings) -> Self {
        let per_endpoint = settings.variable(
            "KEDA_HTTP_MAX_IDLE_CONNS_PER_HOST",
            &WHOLE_NUMBER,
            "How many idle connections to one endpoint are kept",
        );
        Self {
            max_idle_per_endpoint: usize::try_from(per_endpoint.default(200)).unwrap_or(usize::MAX),
            idle_timeout: Duration::from_secs(90),
        }
    }
}

impl ShutdownConfig {
    fn read(settings: &Settings) -> Self {
        Self {
            delay: settings
                .variable(
                    "KEDA_HTTP_SHUTDOWN_DELAY",
                    &DURATION,
                    "How long the interceptor still accepts connections after SIGTERM, while it is not ready",
                )
                .default(Duration::from_secs(5)),
            drain: settings
                .variable(
                    "KEDA_HTTP_DRAIN_TIMEOUT",
                    &LIMIT,
                    "How long requests may then take to finish",
                )
                .default(Some(Duration::from_secs(30))),
        }
    }
}

const HEADER_NAME_CASE: Kind<HeaderNameCase> = Kind {
    allowed: "lower (content-type) or title (Content-Type, as the Go add-on writes them)",
    parse: |text| match text {
        "lower" => Some(HeaderNameCase::Lower),
        "title" => Some(HeaderNameCase::Title),
        _ => None,
    },
    show: |case| match case {
        HeaderNameCase::Lower => "lower".to_owned(),
        HeaderNameCase::Title => "title".to_owned(),
    },
};

impl ResponseConfig {
    fn read(settings: &Settings) -> Self {
        Self {
            cold_start_header: settings
                .variable(
                    "KEDA_HTTP_ENABLE_COLD_START_HEADER",
                    &BOOLEAN,
                    "Send X-KEDA-HTTP-Cold-Start with each response",
                )
                .default(true),
            log_requests: settings
                .variable("KEDA_HTTP_LOG_REQUESTS", &BOOLEAN, "Log each request")
                .default(false),
            header_names: settings
                .variable(
                    "KEDA_HTTP_HEADER_NAME_CASE",
                    &HEADER_NAME_CASE,
                    "How header names are written on HTTP/1.1, in requests and responses",
                )
                .default(HeaderNameCase::Lower),
        }
    }
}

/// Variables that upstream's manifests may set.
fn read_without_effect(settings: &Settings) {
    // Whoever switches TLS on must not be served without it.
    settings
        .variable("KEDA_HTTP_PROXY_TLS_ENABLED", &TLS, "TLS for requests")
        .default(false);
    settings
        .variable("KEDA_HTTP_DIRECT_POD_ROUTING", &BOOLEAN, "Whether requests go to pods")
        .without_effect("requests always go to pods, never to the cluster IP of their Service");
    settings
        .variable(
            "KEDA_HTTP_MAX_IDLE_CONNS",
            &WHOLE_NUMBER,
            "Idle connections to all endpoints",
        )
        .without_effect("idle connections end after 90s, or with their endpoint");
    settings
        .variable(
            "KEDA_HTTP_SCALER_CONFIG_MAP_INFORMER_RSYNC_PERIOD",
            &TEXT,
            "Time between two resyncs",
        )
        .without_effect("changes arrive by themselves");
    settings
        .variable("PROFILING_BIND_ADDRESS", &TEXT, "Address of Go's profiler")
        .without_effect("this program is not written in Go");
}

const REQUEST_HEAD: Duration = Duration::from_secs(60);

/// Durations as in Go.
const DURATION: Kind<Duration> = Kind {
    allowed: "a duration such as 500ms, 30s or 1m30s",
    parse: |text| duration::parse(text).ok(),
    show: |value| duration::format(*value),
};
/// A duration in which zero is no limit.
const LIMIT: Kind<Option<Duration>> = Kind {
    allowed: "a duration such as 500ms, 30s or 1m30s (0s: no limit)",
    parse: |text| Some(duration::parse(text).ok()?).map(|limit| Some(limit).filter(|limit| !limit.is_zero())),
    show: |limit| duration::format(limit.unwrap_or_default()),
};
/// Zero is the default, as upstream.
const HEAD_LIMIT: Kind<Duration> = Kind {
    allowed: "a duration such as 500ms, 30s or 1m30s (0s: the default)",
    parse: |text| (LIMIT.parse)(text).map(|limit| limit.unwrap_or(REQUEST_HEAD)),
    show: DURATION.show,
};
const IP: Kind<IpAddr> = Kind::of_type("an IP address");
const WORKERS: Kind<usize> = Kind {
    allowed: "a number of threads, 1 to 1024",
    parse: |text| text.parse().ok().filter(|workers| (1..=1024).contains(workers)),
    show: usize::to_string,
};
/// Less than zero is no limit, too, as upstream.
const MAX_PENDING: Kind<Option<NonZeroU32>> = Kind {
    allowed: "a whole number (0: any number of requests)",
    parse: |text| {
        Some(
            u32::try_from(text.parse::<i32>().ok()?.max(0))
                .ok()
                .and_then(NonZeroU32::new),
        )
    },
    show: |limit| limit.map_or(0, u32::from).to_string(),
};
const TLS: Kind<bool> = Kind {
    allowed: "false: TLS is not supported yet",
    parse: |text| (BOOLEAN.parse)(text).filter(|is_on| !is_on),
    show: bool::to_string,
};

#[cfg(test)]
mod tests;
