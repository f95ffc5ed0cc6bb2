//! Services that are pointed at the interceptors.

use std::ops::RangeInclusive;
use std::time::Duration;

use keda_http_runtime::env::{EnvError, Environment};

use super::cluster::ClusterConfig;
use super::interceptors::{AdminService, Find, InterceptorsConfig};
use super::{debounce, positive};

/// Services that are pointed at the interceptors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AutowireConfig {
    /// `KEDA_HTTP_AUTOWIRE_PORTS` (20000-24999): each autowired Service port has one of these at every interceptor.
    pub ports: RangeInclusive<u16>,
    /// `HTTP_HEALTHCHECK_DEBOUNCER_SECONDS` (1): how long the interceptors must be well, or unwell, before it counts.
    pub debounce: Duration,
    /// `KEDIFY_AUTOWIRE_SERVICE_SYNC_PERIOD` (500 ms): how often what was written is compared with what should be.
    pub sync_period: Duration,
}

const ENABLED: &str = "KEDA_HTTP_AUTOWIRE_ENABLED";
const PORTS: &str = "first-last, two ports above 1023 in this order, such as 20000-24999";

impl AutowireConfig {
    pub(super) fn read(
        environment: &Environment,
        controllers: bool,
        interceptors: &InterceptorsConfig,
    ) -> Result<Option<Self>, EnvError> {
        let config = Self::values(environment)?;
        if !environment.boolean(ENABLED)?.unwrap_or(false) {
            return Ok(None);
        }
        if !controllers {
            return Err(not_allowed("KEDA_HTTP_CONTROLLERS_ENABLED is not true"));
        }
        if matches!(interceptors.find, Find::List(_)) {
            return Err(not_allowed("the interceptors come from KEDA_HTTP_SCALER_INTERCEPTORS"));
        }
        Ok(Some(config))
    }

    fn values(environment: &Environment) -> Result<Self, EnvError> {
        let ports = environment.parsed("KEDA_HTTP_AUTOWIRE_PORTS", PORTS, parse_ports)?;
        let period = "KEDIFY_AUTOWIRE_SERVICE_SYNC_PERIOD";
        Ok(Self {
            ports: ports.unwrap_or(20_000..=24_999),
            debounce: debounce(environment)?,
            sync_period: positive(environment, period, Duration::from_millis(500))?,
        })
    }
}

/// What `keda-http-scaler restore` and `keda-http-scaler autowire --dry-run` need, by the names of the scaler's settings.
#[derive(Debug, Clone)]
pub struct AutowireCommandConfig {
    /// The API server.
    pub cluster: ClusterConfig,
    /// The Service in front of the interceptors' admin ports.
    pub admin_service: AdminService,
    /// The values that are in force when autowire is enabled.
    pub autowire: AutowireConfig,
}

const ADMIN_SERVICE: &str = "the Service in front of the interceptors' admin ports, as the scaler has it";

impl AutowireCommandConfig {
    /// Reads what the commands need.
    ///
    /// # Errors
    /// When a variable cannot be used or a required one is absent.
    pub fn read(environment: &Environment) -> Result<Self, EnvError> {
        let Find::Service(admin_service) = InterceptorsConfig::read(environment)?.find else {
            return Err(EnvError::missing(
                "KEDA_HTTP_SCALER_TARGET_ADMIN_SERVICE",
                ADMIN_SERVICE,
            ));
        };
        Ok(Self {
            cluster: ClusterConfig::read(environment),
            admin_service,
            autowire: AutowireConfig::values(environment)?,
        })
    }
}

fn not_allowed(reason: &str) -> EnvError {
    EnvError::invalid(ENABLED, "true", &format!("false while {reason}"))
}

fn parse_ports(text: &str) -> Result<RangeInclusive<u16>, ()> {
    let (first, last) = text.split_once('-').ok_or(())?;
    let parse = |port: &str| port.trim().parse::<u16>().ok().filter(|port| *port > 1023).ok_or(());
    let ports = parse(first)?..=parse(last)?;
    if ports.is_empty() { Err(()) } else { Ok(ports) }
}
