//! The scaler's settings, by upstream's names where upstream has them.

mod admission;
mod autowire;
mod cluster;
mod controllers;
mod interceptors;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use keda_http_core::duration;
use keda_http_runtime::env::{EnvError, Environment};

pub use admission::AdmissionConfig;
pub use autowire::{AutowireCommandConfig, AutowireConfig};
pub use cluster::ClusterConfig;
pub use controllers::ControllersConfig;
pub use interceptors::{AdminService, Find, InterceptorsConfig};

/// What `--help` prints.
pub const HELP: &str = "\
keda-http-scaler: KEDA's external scaler for HTTP

  keda-http-scaler                    the scaler
  keda-http-scaler autowire --dry-run prints what autowire would write now, and writes nothing
  keda-http-scaler restore            leads all autowired Services back to the pods of their fallbackServices, for good:
                                      to be run before the scaler is removed, while it runs or after it has stopped

Settings come from the environment, those of the commands too:

Interceptors: either a list, or the Service in front of their admin ports
  KEDA_HTTP_SCALER_INTERCEPTORS       a comma list of host:port, the admin ports of the interceptors
  KEDA_HTTP_SCALER_TARGET_ADMIN_{NAMESPACE,SERVICE,PORT}
                                      the Service whose EndpointSlices name them; needs an API server
  KEDA_HTTP_SCALER_TARGET_ADMIN_DEPLOYMENT
                                      accepted, without effect
  KEDA_HTTP_SCALER_RETENTION          how long the last report of a lost interceptor counts (30s)
  KEDA_HTTP_QUEUE_TICK_DURATION       how often interceptors without a stream are asked (500ms)
  KEDA_HTTP_SCALER_STREAM_INTERVAL_MS accepted, without effect: signals are sent at once

InterceptorRoutes and HTTPScaledObjects: from a directory, or else from the API server where there is one
  KEDA_HTTP_MANIFESTS                 directory of manifests
  KUBECONFIG                          how to reach the API server from outside of a cluster
  KEDA_HTTP_WATCH_NAMESPACE           the only namespace that is read (all)
  KEDA_HTTP_NAMESPACE                 the namespace of scaler and interceptors (that of the service account)

Ports
  KEDA_HTTP_BIND_ADDRESS              address of all ports (0.0.0.0)
  KEDA_HTTP_SCALER_PORT               port for KEDA's gRPC calls (8080)
  KEDA_HTTP_SCALER_REFLECTION         serve gRPC reflection (false)
  OTEL_PROM_EXPORTER_ENABLED          serve metrics and probes (true)
  OTEL_PROM_EXPORTER_PORT             port of metrics and probes (2223)
  OTEL_EXPORTER_OTLP_METRICS_ENABLED  push metrics by OTLP/HTTP (false); _ENDPOINT, _HEADERS, _TIMEOUT, _CERTIFICATE,
                                      OTEL_METRIC_EXPORT_INTERVAL (60000, milliseconds) and
                                      OTEL_RESOURCE_ATTRIBUTES as OpenTelemetry defines them

Controllers and admission (need an API server)
  KEDA_HTTP_CONTROLLERS_ENABLED       the replica with the Lease looks after the objects (false)
  KEDA_HTTP_LEASE_NAME                the Lease in its namespace (keda-add-ons-http-scaler)
  KEDA_HTTP_LEASE_DURATION            how long a leader that is gone still counts as the leader, 3s or more (15s)
  KEDA_HTTP_SCALER_ADDRESS            host:port of this scaler, written into triggers
                                      (keda-add-ons-http-external-scaler.<namespace>:9090)
  KEDA_HTTP_CLUSTER_DOMAIN            the DNS domain of Services (cluster.local)
  KEDA_HTTP_ADMISSION_ENABLED         serve the webhook that makes kedify-http triggers usable for KEDA (false)
  KEDA_HTTP_ADMISSION_PORT            its port (9443)
  KEDA_HTTP_ADMISSION_SERVICE         its Service (keda-add-ons-http-admission)
  KEDA_HTTP_ADMISSION_SECRET          the Secret of its certificates (keda-add-ons-http-admission-certs)
  KEDA_HTTP_ADMISSION_WEBHOOK         its MutatingWebhookConfiguration (keda-add-ons-http-admission)
  KEDA_HTTP_AUTOWIRE_ENABLED          point autowired Services at the interceptors; needs the controllers (false)
  KEDA_HTTP_AUTOWIRE_PORTS            ports of the interceptors for autowired Services (20000-24999)
  HTTP_HEALTHCHECK_DEBOUNCER_SECONDS  how long the interceptors must be well or unwell before it counts (1)
  KEDIFY_AUTOWIRE_SERVICE_SYNC_PERIOD how often what was written is compared with what should be (500ms)

Log flags: --zap-log-level, --zap-encoder, --zap-time-encoding, --zap-devel, --zap-stacktrace-level; or RUST_LOG.
";

/// All settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where KEDA calls: `KEDA_HTTP_BIND_ADDRESS` (0.0.0.0, as upstream) and `KEDA_HTTP_SCALER_PORT` (8080).
    pub listen: SocketAddr,
    /// Where metrics and probes are: the same address and `OTEL_PROM_EXPORTER_PORT` (2223); `None` when
    /// `OTEL_PROM_EXPORTER_ENABLED` is false.
    pub metrics: Option<SocketAddr>,
    /// `KEDA_HTTP_SCALER_REFLECTION` (false: whoever reaches the port learns all there is to call).
    pub reflection: bool,
    /// Who is asked.
    pub interceptors: InterceptorsConfig,
    /// Where InterceptorRoutes and HTTPScaledObjects are read.
    pub objects: ObjectsFrom,
    /// The API server; `None` when nothing needs one.
    pub cluster: Option<ClusterConfig>,
    /// What the leader does; `None` when no replica shall lead.
    pub controllers: Option<ControllersConfig>,
    /// The webhook; `None` when it is not served.
    pub admission: Option<AdmissionConfig>,
    /// `KEDA_HTTP_SCALER_ADDRESS`: the `host:port` that triggers are given; without it that of upstream's Service in the
    /// scaler's own namespace.
    pub scaler_address: Option<String>,
}

/// Where InterceptorRoutes and HTTPScaledObjects are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectsFrom {
    /// `KEDA_HTTP_MANIFESTS`: a directory.
    Manifests(PathBuf),
    /// The API server.
    Cluster,
    /// Nowhere: only `kedify-http` triggers, which are complete in themselves, and the interceptor's own scaling are answered.
    Nowhere,
}

const DURATION: &str = "a duration greater than 0, such as 500ms, 30s or 1m30s";
const ADDRESS: &str = "host:port, at which KEDA reaches this scaler";

impl Config {
    /// Reads all settings.
    ///
    /// # Errors
    /// When a variable cannot be used or a required one is absent.
    pub fn read(environment: &Environment) -> Result<Self, EnvError> {
        let ip = bind_address(environment)?;
        let port = environment.port("KEDA_HTTP_SCALER_PORT")?.unwrap_or(8080);
        let metrics_port = environment.port("OTEL_PROM_EXPORTER_PORT")?.unwrap_or(2223);
        let metrics = environment.boolean("OTEL_PROM_EXPORTER_ENABLED")?.unwrap_or(true);
        let interceptors = InterceptorsConfig::read(environment)?;
        let controllers = ControllersConfig::read(environment, &interceptors)?;
        let admission = AdmissionConfig::read(environment, ip)?;
        let discovers = matches!(interceptors.find, Find::Service(_));
        let needed = discovers || controllers.is_some() || admission.is_some();
        let objects = ObjectsFrom::read(environment, needed || cluster::is_named(environment));
        let connects = needed || objects == ObjectsFrom::Cluster;
        Ok(Self {
            listen: SocketAddr::new(ip, port),
            metrics: metrics.then_some(SocketAddr::new(ip, metrics_port)),
            reflection: environment.boolean("KEDA_HTTP_SCALER_REFLECTION")?.unwrap_or(false),
            interceptors,
            objects,
            cluster: connects.then(|| ClusterConfig::read(environment)),
            controllers,
            admission,
            scaler_address: scaler_address(environment)?,
        })
    }
}

impl ObjectsFrom {
    fn read(environment: &Environment, cluster: bool) -> Self {
        match environment.get("KEDA_HTTP_MANIFESTS") {
            Some(directory) => Self::Manifests(directory.into()),
            None if cluster => Self::Cluster,
            None => Self::Nowhere,
        }
    }
}

fn bind_address(environment: &Environment) -> Result<IpAddr, EnvError> {
    let ip = environment.parsed("KEDA_HTTP_BIND_ADDRESS", "an IP address", IpAddr::from_str)?;
    Ok(ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)))
}

fn scaler_address(environment: &Environment) -> Result<Option<String>, EnvError> {
    let parse = |text: &str| text.parse::<crate::interceptors::Interceptor>();
    let address = environment.parsed("KEDA_HTTP_SCALER_ADDRESS", ADDRESS, parse)?;
    Ok(address.map(|address| address.to_string()))
}

/// For how long interceptors must be well, or unwell, before it counts.
fn debounce(environment: &Environment) -> Result<Duration, EnvError> {
    let seconds = environment.number("HTTP_HEALTHCHECK_DEBOUNCER_SECONDS")?;
    Ok(Duration::from_secs(seconds.unwrap_or(1)))
}

/// A duration greater than 0.
fn positive(environment: &Environment, name: &str, default: Duration) -> Result<Duration, EnvError> {
    let parse = |text: &str| duration::parse(text).ok().filter(|value| !value.is_zero()).ok_or(());
    Ok(environment.parsed(name, DURATION, parse)?.unwrap_or(default))
}

#[cfg(test)]
mod tests;
