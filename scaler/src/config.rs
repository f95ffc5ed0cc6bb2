//! The scaler's settings, by upstream's names where upstream has them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use keda_http_core::duration;
use keda_http_runtime::env::{EnvError, Environment};

use crate::interceptors::Interceptor;

/// What `--help` prints.
pub const HELP: &str = "\
keda-http-scaler: KEDA's external scaler for HTTP. Settings come from the environment:

  KEDA_HTTP_SCALER_INTERCEPTORS       required: a comma list of host:port, the admin ports of the interceptors
  KEDA_HTTP_MANIFESTS                 directory of InterceptorRoutes and HTTPScaledObjects
  KEDA_HTTP_BIND_ADDRESS              address of all ports (0.0.0.0)
  KEDA_HTTP_SCALER_PORT               port for KEDA's gRPC calls (8080)
  KEDA_HTTP_SCALER_REFLECTION         serve gRPC reflection (false)
  KEDA_HTTP_SCALER_RETENTION          how long the last report of a lost interceptor counts (30s)
  KEDA_HTTP_QUEUE_TICK_DURATION       how often interceptors without a stream are asked (500ms)
  KEDA_HTTP_SCALER_STREAM_INTERVAL_MS accepted, without effect: signals are sent at once
  KEDA_HTTP_SCALER_TARGET_ADMIN_{NAMESPACE,SERVICE,DEPLOYMENT,PORT}
                                      accepted, not used yet
  OTEL_PROM_EXPORTER_ENABLED          serve metrics and probes (true)
  OTEL_PROM_EXPORTER_PORT             port of metrics and probes (2223)

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
    /// `KEDA_HTTP_MANIFESTS`: the directory of InterceptorRoutes and HTTPScaledObjects; without it only `kedify-http`
    /// triggers, which are complete in themselves, and the interceptor's own scaling are answered.
    pub manifests: Option<PathBuf>,
}

/// Who is asked for reports, and how.
#[derive(Debug, Clone)]
pub struct InterceptorsConfig {
    /// `KEDA_HTTP_SCALER_INTERCEPTORS`: their admin ports.
    pub list: Vec<Interceptor>,
    /// `KEDA_HTTP_QUEUE_TICK_DURATION` (500 ms, as upstream): how often an interceptor without our stream is asked.
    pub poll_every: Duration,
    /// `KEDA_HTTP_SCALER_RETENTION` (30 s: outlasts a restart and one of KEDA's polls; a wedged interceptor keeps apps awake no longer):
    /// how long the last report of an interceptor that cannot be reached counts.
    pub retention: Duration,
    /// `KEDA_HTTP_SCALER_TARGET_ADMIN_*`: which Service the interceptors are behind. Not used yet: it is for finding
    /// them through Kubernetes.
    pub admin_service: AdminService,
    /// `KEDA_HTTP_SCALER_STREAM_INTERVAL_MS` (200): accepted, without effect. Upstream looks this often whether a target has
    /// become active; here a report is the signal.
    pub stream_interval: Duration,
}

/// The Service that the interceptors' admin ports are behind.
#[derive(Debug, Clone, Default)]
pub struct AdminService {
    /// `KEDA_HTTP_SCALER_TARGET_ADMIN_NAMESPACE`
    pub namespace: Option<String>,
    /// `KEDA_HTTP_SCALER_TARGET_ADMIN_SERVICE`
    pub service: Option<String>,
    /// `KEDA_HTTP_SCALER_TARGET_ADMIN_DEPLOYMENT`
    pub deployment: Option<String>,
    /// `KEDA_HTTP_SCALER_TARGET_ADMIN_PORT`
    pub port: Option<u16>,
}

const DURATION: &str = "a duration greater than 0, such as 500ms, 30s or 1m30s";
const INTERCEPTORS: &str = "a comma list of host:port, the admin ports of the interceptors";

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
        Ok(Self {
            listen: SocketAddr::new(ip, port),
            metrics: metrics.then_some(SocketAddr::new(ip, metrics_port)),
            reflection: environment.boolean("KEDA_HTTP_SCALER_REFLECTION")?.unwrap_or(false),
            interceptors: InterceptorsConfig::read(environment)?,
            manifests: environment.get("KEDA_HTTP_MANIFESTS").map(PathBuf::from),
        })
    }
}

impl InterceptorsConfig {
    fn read(environment: &Environment) -> Result<Self, EnvError> {
        let interval = environment.number("KEDA_HTTP_SCALER_STREAM_INTERVAL_MS")?;
        Ok(Self {
            list: interceptors(environment)?,
            poll_every: positive(environment, "KEDA_HTTP_QUEUE_TICK_DURATION", Duration::from_millis(500))?,
            retention: positive(environment, "KEDA_HTTP_SCALER_RETENTION", Duration::from_secs(30))?,
            admin_service: AdminService::read(environment)?,
            stream_interval: Duration::from_millis(interval.unwrap_or(200)),
        })
    }
}

impl AdminService {
    fn read(environment: &Environment) -> Result<Self, EnvError> {
        Ok(Self {
            namespace: environment.get("KEDA_HTTP_SCALER_TARGET_ADMIN_NAMESPACE"),
            service: environment.get("KEDA_HTTP_SCALER_TARGET_ADMIN_SERVICE"),
            deployment: environment.get("KEDA_HTTP_SCALER_TARGET_ADMIN_DEPLOYMENT"),
            port: environment.port("KEDA_HTTP_SCALER_TARGET_ADMIN_PORT")?,
        })
    }
}

fn bind_address(environment: &Environment) -> Result<IpAddr, EnvError> {
    let ip = environment.parsed("KEDA_HTTP_BIND_ADDRESS", "an IP address", IpAddr::from_str)?;
    Ok(ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)))
}

fn interceptors(environment: &Environment) -> Result<Vec<Interceptor>, EnvError> {
    let name = "KEDA_HTTP_SCALER_INTERCEPTORS";
    let parse = |entry: &String| {
        entry.parse().map_err(|_| EnvError::Invalid {
            name: name.to_owned(),
            value: entry.clone(),
            allowed: INTERCEPTORS.to_owned(),
        })
    };
    let list = environment
        .list(name)
        .iter()
        .map(parse)
        .collect::<Result<Vec<_>, _>>()?;
    if list.is_empty() {
        return Err(EnvError::Missing {
            name: name.to_owned(),
            allowed: INTERCEPTORS.to_owned(),
        });
    }
    Ok(list)
}

fn positive(environment: &Environment, name: &str, default: Duration) -> Result<Duration, EnvError> {
    let parse = |text: &str| duration::parse(text).ok().filter(|value| !value.is_zero()).ok_or(());
    Ok(environment.parsed(name, DURATION, parse)?.unwrap_or(default))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstreams_defaults_hold() {
        let environment = Environment::of([("KEDA_HTTP_SCALER_INTERCEPTORS", "10.0.0.1:9090, 10.0.0.2:9090")]);
        let config = Config::read(&environment).unwrap();
        assert_eq!(config.listen, "0.0.0.0:8080".parse().unwrap());
        assert_eq!(config.metrics, Some("0.0.0.0:2223".parse().unwrap()));
        assert!(!config.reflection && config.manifests.is_none());
        assert_eq!(config.interceptors.poll_every, Duration::from_millis(500));
        assert_eq!(config.interceptors.retention, Duration::from_secs(30));
        assert_eq!(config.interceptors.list.len(), 2);
    }

    #[test]
    fn what_upstreams_manifests_set_is_accepted() {
        let environment = Environment::of([
            ("KEDA_HTTP_SCALER_INTERCEPTORS", "[::1]:9090"),
            ("KEDA_HTTP_SCALER_PORT", "9090"),
            ("KEDA_HTTP_SCALER_TARGET_ADMIN_NAMESPACE", "keda"),
            ("KEDA_HTTP_SCALER_TARGET_ADMIN_SERVICE", "interceptor-admin"),
            ("KEDA_HTTP_SCALER_TARGET_ADMIN_DEPLOYMENT", "interceptor"),
            ("KEDA_HTTP_SCALER_TARGET_ADMIN_PORT", "9090"),
            ("KEDA_HTTP_SCALER_STREAM_INTERVAL_MS", "200"),
            ("KEDA_HTTP_QUEUE_TICK_DURATION", "1s"),
            ("KEDA_HTTP_BIND_ADDRESS", "127.0.0.1"),
            ("OTEL_PROM_EXPORTER_ENABLED", "false"),
        ]);
        let config = Config::read(&environment).unwrap();
        assert_eq!(config.listen, "127.0.0.1:9090".parse().unwrap());
        assert_eq!(config.metrics, None);
        assert_eq!(config.interceptors.poll_every, Duration::from_secs(1));
        assert_eq!(config.interceptors.admin_service.port, Some(9090));
    }

    #[test]
    fn an_error_names_the_variable_its_value_and_what_is_allowed() {
        let interceptors = ("KEDA_HTTP_SCALER_INTERCEPTORS", "10.0.0.1:9090");
        for (name, value) in [
            ("KEDA_HTTP_SCALER_PORT", "70000"),
            ("KEDA_HTTP_QUEUE_TICK_DURATION", "5"),
            ("KEDA_HTTP_QUEUE_TICK_DURATION", "0s"),
            ("KEDA_HTTP_SCALER_RETENTION", "soon"),
            ("KEDA_HTTP_SCALER_STREAM_INTERVAL_MS", "-1"),
            ("KEDA_HTTP_SCALER_REFLECTION", "maybe"),
            ("KEDA_HTTP_BIND_ADDRESS", "localhost"),
            ("KEDA_HTTP_SCALER_TARGET_ADMIN_PORT", "http"),
            ("OTEL_PROM_EXPORTER_PORT", "x"),
            ("KEDA_HTTP_SCALER_INTERCEPTORS", "10.0.0.1"),
        ] {
            let error = Config::read(&Environment::of([interceptors, (name, value)]))
                .unwrap_err()
                .to_string();
            assert!(
                error.contains(name) && error.contains(value) && error.contains("must be"),
                "{error}"
            );
        }
        let missing = Config::read(&Environment::of([])).unwrap_err().to_string();
        assert!(
            missing.contains("KEDA_HTTP_SCALER_INTERCEPTORS") && missing.contains("host:port"),
            "{missing}"
        );
    }
}
