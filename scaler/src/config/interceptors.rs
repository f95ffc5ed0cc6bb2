//! Who is asked for reports, and how.

use std::time::Duration;

use keda_http_runtime::env::{EnvError, Environment};

use super::{debounce, positive};
use crate::interceptors::Interceptor;

/// Who is asked for reports, and how.
#[derive(Debug, Clone)]
pub struct InterceptorsConfig {
    /// Who they are.
    pub find: Find,
    /// `KEDA_HTTP_QUEUE_TICK_DURATION` (500 ms, as upstream): how often an interceptor without our stream is asked.
    pub poll_every: Duration,
    /// `KEDA_HTTP_SCALER_RETENTION` (30 s: outlasts a restart and one of KEDA's polls; a wedged interceptor keeps apps awake no longer):
    /// how long the last report of an interceptor that cannot be reached counts.
    pub retention: Duration,
    /// `HTTP_HEALTHCHECK_DEBOUNCER_SECONDS` (1): for how long all of them must be away before Services are led past them, and
    /// they are not asked what the targets do.
    pub debounce: Duration,
    /// `KEDA_HTTP_SCALER_STREAM_INTERVAL_MS` (200): accepted, without effect. Upstream looks this often whether a target has
    /// become active; here a report is the signal.
    pub stream_interval: Duration,
}

/// How the interceptors are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Find {
    /// `KEDA_HTTP_SCALER_INTERCEPTORS`: they never change.
    List(Vec<Interceptor>),
    /// `KEDA_HTTP_SCALER_TARGET_ADMIN_*`: by the EndpointSlices of a Service.
    Service(AdminService),
}

/// The Service that the interceptors' admin ports are behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminService {
    /// `KEDA_HTTP_SCALER_TARGET_ADMIN_NAMESPACE`
    pub namespace: String,
    /// `KEDA_HTTP_SCALER_TARGET_ADMIN_SERVICE`
    pub service: String,
    /// `KEDA_HTTP_SCALER_TARGET_ADMIN_DEPLOYMENT`: accepted, without effect, as upstream.
    pub deployment: Option<String>,
    /// `KEDA_HTTP_SCALER_TARGET_ADMIN_PORT`: the admin port of the pods.
    pub port: u16,
}

const LIST: &str = "KEDA_HTTP_SCALER_INTERCEPTORS";
const NAMESPACE: &str = "KEDA_HTTP_SCALER_TARGET_ADMIN_NAMESPACE";
const SERVICE: &str = "KEDA_HTTP_SCALER_TARGET_ADMIN_SERVICE";
const DEPLOYMENT: &str = "KEDA_HTTP_SCALER_TARGET_ADMIN_DEPLOYMENT";
const PORT: &str = "KEDA_HTTP_SCALER_TARGET_ADMIN_PORT";

const INTERCEPTORS: &str = "a comma list of host:port, the admin ports of the interceptors";

impl InterceptorsConfig {
    pub(super) fn read(environment: &Environment) -> Result<Self, EnvError> {
        let interval = environment.number("KEDA_HTTP_SCALER_STREAM_INTERVAL_MS")?;
        Ok(Self {
            find: Find::read(environment)?,
            poll_every: positive(environment, "KEDA_HTTP_QUEUE_TICK_DURATION", Duration::from_millis(500))?,
            debounce: debounce(environment)?,
            retention: positive(environment, "KEDA_HTTP_SCALER_RETENTION", Duration::from_secs(30))?,
            stream_interval: Duration::from_millis(interval.unwrap_or(200)),
        })
    }
}

impl Find {
    fn read(environment: &Environment) -> Result<Self, EnvError> {
        let list = list(environment)?;
        let service = AdminService::read(environment);
        if list.is_empty() {
            return service.map(Self::Service);
        }
        // What is not used is still told when it cannot be right.
        environment.port(PORT)?;
        Ok(Self::List(list))
    }
}

impl AdminService {
    fn read(environment: &Environment) -> Result<Self, EnvError> {
        let parts = [NAMESPACE, SERVICE, PORT].map(|name| environment.get(name));
        if parts.iter().all(Option::is_none) {
            return Err(EnvError::missing(
                LIST,
                &format!("{INTERCEPTORS}; or {NAMESPACE}, {SERVICE} and {PORT} must name the Service in front of them"),
            ));
        }
        let required = |name, what| {
            let allowed = format!("{what}, as long as {LIST} is not {INTERCEPTORS}");
            environment.get(name).ok_or_else(|| EnvError::missing(name, &allowed))
        };
        let namespace = required(NAMESPACE, "the namespace of the interceptors")?;
        let service = required(SERVICE, "the Service in front of the interceptors' admin ports")?;
        required(PORT, "the admin port of the interceptors, 1 to 65535")?;
        let nonzero = |text: &str| text.parse().ok().filter(|port| *port > 0).ok_or(());
        let port = environment.parsed(PORT, "a port, 1 to 65535", nonzero)?;
        Ok(Self {
            namespace,
            service,
            deployment: environment.get(DEPLOYMENT),
            port: port.unwrap_or_default(),
        })
    }
}

fn list(environment: &Environment) -> Result<Vec<Interceptor>, EnvError> {
    let entries = environment.list(LIST);
    let parse = |entry: &String| entry.parse().map_err(|_| EnvError::invalid(LIST, entry, INTERCEPTORS));
    entries.iter().map(parse).collect()
}
