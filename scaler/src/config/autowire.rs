//! Services that are pointed at the interceptors.

use std::ops::RangeInclusive;
use std::time::Duration;

use keda_http_runtime::env::EnvError;
use keda_http_runtime::settings::{BOOLEAN, Kind, Settings};

use super::cluster::ClusterConfig;
use super::interceptors::{AdminService, Find, InterceptorsConfig};
use super::{POSITIVE, debounce};

/// Services that are pointed at the interceptors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AutowireConfig {
    /// Each port of an autowired Service has one of these at every interceptor.
    pub ports: RangeInclusive<u16>,
    /// How long the interceptors must be healthy, or not, before it counts.
    pub debounce: Duration,
    /// How often what was written is compared with what should be.
    pub sync_period: Duration,
}

const ENABLED: &str = "KEDA_HTTP_AUTOWIRE_ENABLED";
const SECTION: &str = "Autowired Services (need the controllers)";

impl AutowireConfig {
    pub(super) fn read(settings: &Settings, controllers: bool, interceptors: &InterceptorsConfig) -> Option<Self> {
        let own = settings.section(SECTION);
        let help = "Point selector-less Services of autowired triggers at the interceptors";
        let is_enabled = own.variable(ENABLED, &BOOLEAN, help).default(false);
        let config = Self::read_values(&own);
        if is_enabled && !controllers {
            own.refuse(not_allowed("KEDA_HTTP_CONTROLLERS_ENABLED is not true"));
        }
        if is_enabled && matches!(interceptors.find, Find::List(_)) {
            own.refuse(not_allowed("the interceptors come from KEDA_HTTP_SCALER_INTERCEPTORS"));
        }
        is_enabled.then_some(config)
    }

    fn read_values(settings: &Settings) -> Self {
        let ports = "Ports that the interceptors open for autowired Services, one for each port of a Service";
        let period = "How often what was written is compared with what should be, in addition to each change";
        Self {
            ports: settings
                .variable("KEDA_HTTP_AUTOWIRE_PORTS", &PORTS, ports)
                .default(20_000..=24_999),
            debounce: debounce(settings),
            sync_period: settings
                .variable("KEDIFY_AUTOWIRE_SERVICE_SYNC_PERIOD", &POSITIVE, period)
                .default(Duration::from_millis(500)),
        }
    }
}

/// What `keda-http-scaler restore` and `keda-http-scaler autowire --dry-run` need, by the names of the scaler's
/// settings.
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
    pub fn read(settings: &Settings) -> Self {
        let admin_service = match InterceptorsConfig::read(settings).find {
            Find::Service(service) => service,
            Find::List(_) => {
                settings.refuse(EnvError::missing(
                    "KEDA_HTTP_SCALER_TARGET_ADMIN_SERVICE",
                    ADMIN_SERVICE,
                ));
                AdminService::default()
            }
        };
        Self {
            cluster: ClusterConfig::read(settings).0,
            admin_service,
            autowire: AutowireConfig::read_values(settings),
        }
    }
}

fn not_allowed(reason: &str) -> EnvError {
    EnvError::invalid(ENABLED, "true", &format!("false while {reason}"))
}

const PORTS: Kind<RangeInclusive<u16>> = Kind {
    allowed: "first-last, two ports above 1023 in this order, such as 20000-24999",
    parse: |text| {
        let (first, last) = text.split_once('-')?;
        let parse = |port: &str| port.trim().parse::<u16>().ok().filter(|port| *port > 1023);
        Some(parse(first)?..=parse(last)?).filter(|ports| !ports.is_empty())
    },
    show: |ports| format!("{}-{}", ports.start(), ports.end()),
};
