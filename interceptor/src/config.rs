//! All settings of the interceptor: one struct per part, each default with its unit and its reason.

mod routing;

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use keda_http_core::duration;
use keda_http_runtime::env::{EnvError, Environment};
use serde::Serialize;

pub use routing::{HostOwnership, RoutingConfig};

/// What `--help` prints.
pub const HELP: &str = "\
keda-http-interceptor: holds HTTP requests while a workload starts from zero, and forwards them.

Settings come from the environment. Durations are Go's (500ms, 30s, 1m30s).

  KEDA_HTTP_PROXY_PORT                 port for requests, HTTP/1.1 and h2c (required; 0: any free one)
  KEDA_HTTP_ADMIN_PORT                 port for probes, /queue, /routes, /config, /log-level, gRPC reports (required)
  KEDA_HTTP_MANIFESTS                  directory of manifests, live on change (not set: the API server, by the pod's
                                       service account or KUBECONFIG)
  KEDA_HTTP_WATCH_NAMESPACE            the only namespace whose objects are read from the API server (not set: all)
  KEDA_HTTP_NAMESPACE                  own namespace (the service account's; with a directory: default)
  KEDA_HTTP_HOST_OWNERSHIP             namespace: a host belongs to the namespace that had it first; none: the rules of
                                       all namespaces compete, as upstream (namespace)
  KEDA_HTTP_CLUSTER_DOMAIN             DNS domain of Services (cluster.local)
  KEDA_HTTP_ROUTING_TABLE_MAX_STALENESS
                                       without the API server for longer than that: not ready (0s: always ready)
  KEDA_HTTP_BIND_ADDRESS               address for all ports (::, which takes IPv4 too)
  KEDA_HTTP_WORKERS                    threads for requests (one per CPU)
  KEDA_HTTP_READINESS_TIMEOUT          how long a request is held (20m; 30s with a fallback; 0s: no limit)
  KEDA_HTTP_REQUEST_TIMEOUT            how long a request may take in all (0s: no limit)
  KEDA_HTTP_RESPONSE_HEADER_TIMEOUT    from the request sent to the first response header (300s)
  KEDA_HTTP_CONNECT_TIMEOUT            for one dial (500ms)
  KEDA_HTTP_REQUEST_HEAD_TIMEOUT       for the head of a request, from its first byte (60s)
  KEDA_HTTP_MAX_IDLE_CONNS_PER_HOST    idle connections kept to one endpoint (200)
  KEDA_HTTP_COLD_START_MAX_PENDING_REQUESTS
                                       requests held for one route while it has no endpoint (0: any number)
  KEDA_HTTP_ENABLE_COLD_START_HEADER   send X-KEDA-HTTP-Cold-Start (true)
  KEDA_HTTP_LOG_REQUESTS               log each request (false)
  KEDA_HTTP_SHUTDOWN_DELAY             not ready but accepting, after SIGTERM (5s)
  KEDA_HTTP_DRAIN_TIMEOUT              then for what is there to finish (30s; 0s: no limit)
  OTEL_PROM_EXPORTER_ENABLED           serve /metrics (true)
  OTEL_PROM_EXPORTER_PORT              port for /metrics (2223)
  OTEL_EXPORTER_OTLP_METRICS_ENABLED   push metrics by OTLP/HTTP (false); _ENDPOINT, _HEADERS, _TIMEOUT, _CERTIFICATE,
                                       and OTEL_METRIC_EXPORT_INTERVAL (60000, milliseconds)
  OTEL_EXPORTER_OTLP_TRACES_ENABLED    send spans (false); _PROTOCOL console, http/protobuf or grpc; _ENDPOINT,
                                       _INSECURE, _HEADERS, _TIMEOUT; OTEL_TRACES_SAMPLER, OTEL_PROPAGATORS,
                                       OTEL_BSP_*, OTEL_RESOURCE_ATTRIBUTES as OpenTelemetry defines them
";

/// Upstream's variables for what there is not here.
const NO_EFFECT: [(&str, &str); 2] = [
    (
        "KEDA_HTTP_SCALER_CONFIG_MAP_INFORMER_RSYNC_PERIOD",
        "changes arrive by themselves, and nothing is read again",
    ),
    ("PROFILING_BIND_ADDRESS", "there is no profiler of Go"),
];

/// What Go durations look like, for messages.
const DURATION: &str = "a duration such as 500ms, 30s or 1m30s (0s for none)";

/// Everything the interceptor is told from outside.
#[derive(Debug, Clone, Serialize)]
pub struct Config {
    /// What it listens on.
    pub listen: Listen,
    /// Where routes and endpoints come from.
    pub source: SourceConfig,
    /// What is made of them.
    pub routing: RoutingConfig,
    /// How long things may take.
    pub timeouts: TimeoutConfig,
    /// What holds for every route that does not say otherwise, while it has no endpoint.
    pub cold_start: ColdStartConfig,
    /// Connections to endpoints.
    pub upstream: UpstreamConfig,
    /// How it stops.
    pub shutdown: ShutdownConfig,
    /// What it says.
    pub responses: ResponseConfig,
}

/// Addresses and threads.
#[derive(Debug, Clone, Serialize)]
pub struct Listen {
    /// `KEDA_HTTP_BIND_ADDRESS`; default `::`, which takes IPv4 too.
    pub address: IpAddr,
    /// `KEDA_HTTP_PROXY_PORT`; required, as upstream. 0 takes any free port.
    pub proxy_port: u16,
    /// `KEDA_HTTP_ADMIN_PORT`; required, as upstream.
    pub admin_port: u16,
    /// `OTEL_PROM_EXPORTER_PORT`, default 2223; `None` when `OTEL_PROM_EXPORTER_ENABLED` is false.
    pub metrics_port: Option<u16>,
    /// `KEDA_HTTP_WORKERS`; default: one for each CPU the process may use.
    pub workers: usize,
}

/// The source of objects.
#[derive(Debug, Clone, Serialize)]
pub enum SourceConfig {
    /// `KEDA_HTTP_MANIFESTS`: a directory of manifests, live on change.
    Manifests(PathBuf),
    /// Without it: the API server.
    Cluster(ClusterConfig),
}

/// What is read from the API server.
#[derive(Debug, Clone, Serialize)]
pub struct ClusterConfig {
    /// `KEDA_HTTP_WATCH_NAMESPACE`: the only namespace, for every kind; default all of them, as upstream.
    pub watch_namespace: Option<String>,
}

/// Limits that routes may override.
#[derive(Debug, Clone, Serialize)]
pub struct TimeoutConfig {
    /// `KEDA_HTTP_REQUEST_TIMEOUT`, default none: long downloads and streams are legitimate.
    #[serde(serialize_with = "optional")]
    pub request: Option<Duration>,
    /// `KEDA_HTTP_READINESS_TIMEOUT`: how long a request is held.
    pub readiness: ReadinessTimeout,
    /// `KEDA_HTTP_RESPONSE_HEADER_TIMEOUT`, default 300 s, as upstream.
    #[serde(serialize_with = "optional")]
    pub response_header: Option<Duration>,
    /// `KEDA_HTTP_CONNECT_TIMEOUT`, default 500 ms, as upstream: a pod answers a dial in far less or is not there.
    #[serde(serialize_with = "text")]
    pub connect: Duration,
    /// `KEDA_HTTP_REQUEST_HEAD_TIMEOUT`: for the head of a request, from its first byte; default 60 s, as upstream.
    #[serde(serialize_with = "text")]
    pub request_head: Duration,
}

/// How long a request is held when its route does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum ReadinessTimeout {
    /// Nothing was set: 20 minutes, longer than slow image pulls, so that no request is held for ever; 30 s when the route has a fallback, as upstream.
    Default,
    /// As set; zero is no limit (and 30 s when the route has a fallback, as upstream).
    Set(#[serde(serialize_with = "text")] Duration),
}

/// What happens while a workload has no endpoint.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct ColdStartConfig {
    /// `KEDA_HTTP_COLD_START_MAX_PENDING_REQUESTS`: requests of one route that this interceptor holds; `None`: any number,
    /// the default, as upstream.
    pub max_pending: Option<NonZeroU32>,
}

/// What routes are bound with where they do not say otherwise.
#[derive(Debug, Clone)]
pub struct RouteDefaults {
    /// How long things may take.
    pub timeouts: TimeoutConfig,
    /// What happens while there is no endpoint.
    pub cold_start: ColdStartConfig,
}

/// Connections to endpoints.
#[derive(Debug, Clone, Serialize)]
pub struct UpstreamConfig {
    /// `KEDA_HTTP_MAX_IDLE_CONNS_PER_HOST`, default 200, as upstream; shared out among the workers.
    pub max_idle_per_endpoint: usize,
    /// Idle connections are closed after this; 90 s, as Go's transport does.
    #[serde(serialize_with = "text")]
    pub idle_timeout: Duration,
}

/// Ending.
#[derive(Debug, Clone, Serialize)]
pub struct ShutdownConfig {
    /// `KEDA_HTTP_SHUTDOWN_DELAY`, default 5 s, as upstream: not ready, but still accepting, until everybody has heard.
    #[serde(serialize_with = "text")]
    pub delay: Duration,
    /// `KEDA_HTTP_DRAIN_TIMEOUT`, default 30 s, as upstream: then what is left is cut. `None`: no limit.
    #[serde(serialize_with = "optional")]
    pub drain: Option<Duration>,
}

/// What responses and logs say.
#[derive(Debug, Clone, Serialize)]
pub struct ResponseConfig {
    /// `KEDA_HTTP_ENABLE_COLD_START_HEADER`, default true, as upstream.
    pub cold_start_header: bool,
    /// `KEDA_HTTP_LOG_REQUESTS`, default false, as upstream: a line for each request.
    pub log_requests: bool,
}

impl Config {
    /// Reads the environment.
    ///
    /// # Errors
    /// Names the first variable that cannot be used, its value and what is allowed.
    pub fn from_env(env: &Environment) -> Result<Self, EnvError> {
        refuse_tls(env)?;
        tell_of_no_effect(env);
        Ok(Self {
            listen: Listen::from_env(env)?,
            source: SourceConfig::from_env(env)?,
            routing: RoutingConfig::from_env(env)?,
            timeouts: TimeoutConfig::from_env(env)?,
            cold_start: ColdStartConfig::from_env(env)?,
            upstream: UpstreamConfig::from_env(env)?,
            shutdown: ShutdownConfig::from_env(env)?,
            responses: ResponseConfig::from_env(env)?,
        })
    }
}

impl Listen {
    fn from_env(env: &Environment) -> Result<Self, EnvError> {
        let metrics = env.boolean("OTEL_PROM_EXPORTER_ENABLED")?.unwrap_or(true);
        let metrics_port = env.port("OTEL_PROM_EXPORTER_PORT")?.unwrap_or(2223);
        Ok(Self {
            address: env
                .parsed("KEDA_HTTP_BIND_ADDRESS", "an IP address", str::parse)?
                .unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
            proxy_port: required_port(env, "KEDA_HTTP_PROXY_PORT")?,
            admin_port: required_port(env, "KEDA_HTTP_ADMIN_PORT")?,
            metrics_port: metrics.then_some(metrics_port),
            workers: workers(env)?,
        })
    }
}

fn tell_of_no_effect(env: &Environment) {
    for (name, why) in NO_EFFECT {
        if env.get(name).is_some() {
            tracing::info!(name, "has no effect: {why}");
        }
    }
}

/// Somebody who switches TLS on must not be served without it.
fn refuse_tls(env: &Environment) -> Result<(), EnvError> {
    const NAME: &str = "KEDA_HTTP_PROXY_TLS_ENABLED";
    match env.boolean(NAME)? {
        Some(true) => Err(EnvError::invalid(
            NAME,
            &env.get(NAME).unwrap_or_default(),
            "false or unset: TLS is not supported yet",
        )),
        Some(false) | None => Ok(()),
    }
}

fn required_port(env: &Environment, name: &str) -> Result<u16, EnvError> {
    env.port(name)?.ok_or_else(|| EnvError::Missing {
        name: name.to_owned(),
        allowed: "a port, 1 to 65535 (0 for any free one)".to_owned(),
    })
}

fn workers(env: &Environment) -> Result<usize, EnvError> {
    let parse = |text: &str| {
        text.parse()
            .ok()
            .filter(|workers| (1..=1024).contains(workers))
            .ok_or(())
    };
    let set = env.parsed("KEDA_HTTP_WORKERS", "a number of threads, 1 to 1024", parse)?;
    Ok(set.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get)))
}

impl SourceConfig {
    fn from_env(env: &Environment) -> Result<Self, EnvError> {
        const NAME: &str = "KEDA_HTTP_MANIFESTS";
        let Some(manifests) = env.get(NAME).map(PathBuf::from) else {
            return Ok(Self::Cluster(ClusterConfig {
                watch_namespace: routing::namespace(env, "KEDA_HTTP_WATCH_NAMESPACE")?,
            }));
        };
        if !manifests.is_dir() {
            let value = manifests.display().to_string();
            return Err(EnvError::invalid(NAME, &value, "a directory of manifests that exists"));
        }
        Ok(Self::Manifests(manifests))
    }
}

impl TimeoutConfig {
    fn from_env(env: &Environment) -> Result<Self, EnvError> {
        // The deprecated names win when they are set to more than zero, as upstream.
        let readiness = match deprecated(env, "KEDA_CONDITION_WAIT_TIMEOUT", "KEDA_HTTP_READINESS_TIMEOUT")? {
            Some(old) => Some(old),
            None => go_duration(env, "KEDA_HTTP_READINESS_TIMEOUT")?,
        };
        let response_header =
            match deprecated(env, "KEDA_RESPONSE_HEADER_TIMEOUT", "KEDA_HTTP_RESPONSE_HEADER_TIMEOUT")? {
                Some(old) => Some(old),
                None => go_duration(env, "KEDA_HTTP_RESPONSE_HEADER_TIMEOUT")?,
            };
        Ok(Self {
            request: limit(go_duration(env, "KEDA_HTTP_REQUEST_TIMEOUT")?.unwrap_or_default()),
            readiness: readiness.map_or(ReadinessTimeout::Default, ReadinessTimeout::Set),
            response_header: limit(response_header.unwrap_or(Duration::from_secs(300))),
            connect: go_duration(env, "KEDA_HTTP_CONNECT_TIMEOUT")?.unwrap_or(Duration::from_millis(500)),
            request_head: go_duration(env, "KEDA_HTTP_REQUEST_HEAD_TIMEOUT")?
                .filter(|limit| !limit.is_zero())
                .unwrap_or(Duration::from_secs(60)),
        })
    }
}

impl ReadinessTimeout {
    /// The limit for a route; `None` is none.
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
    fn from_env(env: &Environment) -> Result<Self, EnvError> {
        const NAME: &str = "KEDA_HTTP_COLD_START_MAX_PENDING_REQUESTS";
        let limit = env.parsed(NAME, "a whole number (0 for any number of requests)", str::parse::<i32>)?;
        // Less than zero is no limit, too, as upstream.
        let limit = limit.and_then(|limit| u32::try_from(limit).ok());
        Ok(Self {
            max_pending: limit.and_then(NonZeroU32::new),
        })
    }
}

impl UpstreamConfig {
    fn from_env(env: &Environment) -> Result<Self, EnvError> {
        if env.boolean("KEDA_HTTP_DIRECT_POD_ROUTING")? == Some(false) {
            tracing::warn!(
                name = "KEDA_HTTP_DIRECT_POD_ROUTING",
                "has no effect: requests always go to the pods and never to the cluster IP of their Service"
            );
        }
        // Upstream's limit over all hosts has no counterpart: idle connections end by age, and with their endpoint.
        env.number("KEDA_HTTP_MAX_IDLE_CONNS")?;
        let per_endpoint = env.number("KEDA_HTTP_MAX_IDLE_CONNS_PER_HOST")?.unwrap_or(200);
        Ok(Self {
            max_idle_per_endpoint: usize::try_from(per_endpoint).unwrap_or(usize::MAX),
            idle_timeout: Duration::from_secs(90),
        })
    }
}

impl ShutdownConfig {
    fn from_env(env: &Environment) -> Result<Self, EnvError> {
        Ok(Self {
            delay: go_duration(env, "KEDA_HTTP_SHUTDOWN_DELAY")?.unwrap_or(Duration::from_secs(5)),
            drain: limit(go_duration(env, "KEDA_HTTP_DRAIN_TIMEOUT")?.unwrap_or(Duration::from_secs(30))),
        })
    }
}

impl ResponseConfig {
    fn from_env(env: &Environment) -> Result<Self, EnvError> {
        Ok(Self {
            cold_start_header: env.boolean("KEDA_HTTP_ENABLE_COLD_START_HEADER")?.unwrap_or(true),
            log_requests: env.boolean("KEDA_HTTP_LOG_REQUESTS")?.unwrap_or(false),
        })
    }
}

fn go_duration(env: &Environment, name: &str) -> Result<Option<Duration>, EnvError> {
    env.parsed(name, DURATION, duration::parse)
}

fn deprecated(env: &Environment, name: &str, instead: &str) -> Result<Option<Duration>, EnvError> {
    let value = go_duration(env, name)?.filter(|value| !value.is_zero());
    if value.is_some() {
        tracing::warn!(
            name,
            instead,
            "this variable is deprecated and wins over the one to use instead"
        );
    }
    Ok(value)
}

/// Zero is no limit.
fn limit(duration: Duration) -> Option<Duration> {
    Some(duration).filter(|duration| !duration.is_zero())
}

fn text<S: serde::Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&duration::format(*value))
}

#[expect(clippy::ref_option, reason = "serde hands over references")]
fn optional<S: serde::Serializer>(value: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => text(value, serializer),
        None => serializer.serialize_str("none"),
    }
}

#[cfg(test)]
mod tests;
