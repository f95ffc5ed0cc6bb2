//! All settings of the scaler: a struct and a reader for each part. The help of a variable stands where it is read;
//! the fields say why a default is what it is.

mod admission;
mod autowire;
mod cluster;
mod controllers;
mod interceptors;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use keda_http_core::duration;
use keda_http_runtime::settings::{BOOLEAN, DIRECTORY, Kind, PORT, Settings, WHOLE_NUMBER};

pub use admission::AdmissionConfig;
pub use autowire::{AutowireCommandConfig, AutowireConfig};
pub use cluster::ClusterConfig;
pub use controllers::ControllersConfig;
pub use interceptors::{AdminService, Find, InterceptorsConfig};

use crate::host_port::HostPort;

/// Everything that can be set from outside.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where KEDA calls.
    pub listen: SocketAddr,
    /// Where metrics and probes are served; `None` switches the port off.
    pub metrics: Option<SocketAddr>,
    /// Whether gRPC reflection is served; false by default, because it shows every caller all that can be called.
    pub reflection: bool,
    /// How the interceptors are found and asked.
    pub interceptors: InterceptorsConfig,
    /// Where InterceptorRoutes and HTTPScaledObjects are read.
    pub objects: ObjectsFrom,
    /// The API server; `None` when nothing needs one.
    pub cluster: Option<ClusterConfig>,
    /// What the leader does; `None` when no replica leads.
    pub controllers: Option<ControllersConfig>,
    /// The webhook; `None` when it is not served.
    pub admission: Option<AdmissionConfig>,
    /// The `host:port` that is written into triggers; `None` is that of upstream's Service in the scaler's namespace.
    pub scaler_address: Option<String>,
}

/// Where InterceptorRoutes and HTTPScaledObjects are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectsFrom {
    /// A directory of manifests.
    Manifests(PathBuf),
    /// The API server.
    Cluster,
    /// Nowhere: only `kedify-http` triggers, which are complete in themselves, and the interceptor's own scaling are
    /// answered.
    Nowhere,
}

impl Config {
    /// Reads all settings.
    pub fn read(settings: &Settings) -> Self {
        let interceptors = InterceptorsConfig::read(settings);
        let objects = settings.section("InterceptorRoutes and HTTPScaledObjects");
        let help = "Directory of manifests to read instead of the API server; changes take effect at once";
        let manifests = objects.variable("KEDA_HTTP_MANIFESTS", &DIRECTORY, help);
        let manifests = manifests.optional("not set: the API server, if there is one");
        let (cluster, is_named) = ClusterConfig::read(&objects);
        let ports = settings.section("Ports");
        let ip = bind_address(&ports);
        let (listen, metrics) = listen(&ports, ip);
        let reflection = ports.variable("KEDA_HTTP_SCALER_REFLECTION", &BOOLEAN, "Serve gRPC reflection");
        let reflection = reflection.default(false);
        let scaler_address = scaler_address(&settings.section(CONTROLLERS));
        let controllers = ControllersConfig::read(settings, &interceptors);
        let admission = AdmissionConfig::read(&settings.section("Admission webhook (needs an API server)"), ip);
        // What libraries read: here it is only checked and shown.
        let process = settings.section("Process");
        let threads = process.variable("TOKIO_WORKER_THREADS", &THREADS, "Threads of the program");
        threads.optional("one for each CPU");

        let discovers = matches!(interceptors.find, Find::Service(_));
        let needs_cluster = discovers || controllers.is_some() || admission.is_some();
        let objects = match manifests {
            Some(directory) => ObjectsFrom::Manifests(directory),
            None if needs_cluster || is_named => ObjectsFrom::Cluster,
            None => ObjectsFrom::Nowhere,
        };
        Self {
            cluster: (needs_cluster || objects == ObjectsFrom::Cluster).then_some(cluster),
            listen,
            metrics,
            reflection,
            interceptors,
            objects,
            controllers,
            admission,
            scaler_address,
        }
    }
}

const CONTROLLERS: &str = "Controllers, run by the replica that holds the Lease (need an API server)";

fn bind_address(settings: &Settings) -> IpAddr {
    let address = settings.variable("KEDA_HTTP_BIND_ADDRESS", &IP, "Address of all ports");
    address.default(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
}

/// The ports for KEDA and for metrics.
fn listen(settings: &Settings, ip: IpAddr) -> (SocketAddr, Option<SocketAddr>) {
    let help = "Port for KEDA's gRPC calls and gRPC health checks";
    let port = settings.variable("KEDA_HTTP_SCALER_PORT", &PORT, help).default(8080);
    let help = "Serve /metrics, and with it /livez, /readyz, /config and /log-level";
    let is_served = settings.variable("OTEL_PROM_EXPORTER_ENABLED", &BOOLEAN, help);
    let is_served = is_served.default(true);
    let help = "Port for /metrics and what goes with it";
    let metrics_port = settings.variable("OTEL_PROM_EXPORTER_PORT", &PORT, help);
    let metrics = SocketAddr::new(ip, metrics_port.default(2223));
    (SocketAddr::new(ip, port), is_served.then_some(metrics))
}

fn scaler_address(settings: &Settings) -> Option<String> {
    let help = "Address of this scaler that is written into triggers";
    let address = settings.variable("KEDA_HTTP_SCALER_ADDRESS", &SCALER_ADDRESS, help);
    let address = address.optional("keda-add-ons-http-external-scaler.<namespace>:9090")?;
    Some(address.to_string())
}

/// How long the interceptors must be healthy, or not, before it counts.
fn debounce(settings: &Settings) -> Duration {
    let help = "How long the interceptors must be healthy, or not, before Services are pointed at them, or away";
    let debounce = settings.variable("HTTP_HEALTHCHECK_DEBOUNCER_SECONDS", &SECONDS, help);
    debounce.default(Duration::from_secs(1))
}

/// A duration as in Go.
const POSITIVE: Kind<Duration> = Kind {
    allowed: "a duration greater than 0, such as 500ms, 30s or 1m30s",
    parse: |text| duration::parse(text).ok().filter(|value| !value.is_zero()),
    show: |value| duration::format(*value),
};
const SECONDS: Kind<Duration> = Kind {
    allowed: "a whole number of seconds, 0 or more",
    parse: |text| (WHOLE_NUMBER.parse)(text).map(Duration::from_secs),
    show: |value| value.as_secs().to_string(),
};
const THREADS: Kind<u16> = Kind {
    allowed: "a number of threads, 1 or more",
    parse: |text| text.parse().ok().filter(|threads| *threads > 0),
    show: u16::to_string,
};
const IP: Kind<IpAddr> = Kind::of_type("an IP address");
const SCALER_ADDRESS: Kind<HostPort> = Kind::of_type("host:port, at which KEDA reaches this scaler");

#[cfg(test)]
mod tests;
