//! What the leader does, and how it becomes the leader.

use std::time::Duration;

use keda_http_core::duration;
use keda_http_runtime::env::{EnvError, Environment};

use super::autowire::AutowireConfig;
use super::interceptors::InterceptorsConfig;

/// What the leader does, and how it becomes the leader.
#[derive(Debug, Clone)]
pub struct ControllersConfig {
    /// `KEDA_HTTP_LEASE_NAME`: the Lease in the scaler's own namespace.
    pub lease_name: String,
    /// `KEDA_HTTP_LEASE_DURATION` (15 s, as is usual): how long a leader that is gone still counts as the leader. In
    /// whole seconds, because Leases are.
    pub lease_duration: Duration,
    /// This replica, as the Lease names its holder: the pod's name, by `HOSTNAME`.
    pub replica: String,
    /// `KEDA_HTTP_CLUSTER_DOMAIN` (cluster.local): the DNS domain of Services, by which names inside the cluster are told
    /// from hosts that belong to a namespace.
    pub cluster_domain: String,
    /// The autowire controller; `None` when Services are left alone.
    pub autowire: Option<AutowireConfig>,
}

const LEASE_DURATION: &str = "a duration of whole seconds, 3s or more";
/// A leader renews at every third, and below a second an API server that is busy would end its lead.
const SHORTEST_LEASE: Duration = Duration::from_secs(3);

impl ControllersConfig {
    pub(super) fn read(environment: &Environment, interceptors: &InterceptorsConfig) -> Result<Option<Self>, EnvError> {
        let enabled = environment.boolean("KEDA_HTTP_CONTROLLERS_ENABLED")?.unwrap_or(false);
        let config = Self {
            lease_name: environment
                .get("KEDA_HTTP_LEASE_NAME")
                .unwrap_or_else(|| "keda-add-ons-http-scaler".to_owned()),
            lease_duration: lease_duration(environment)?,
            replica: environment.get("HOSTNAME").unwrap_or_else(|| "scaler".to_owned()),
            cluster_domain: environment
                .get("KEDA_HTTP_CLUSTER_DOMAIN")
                .unwrap_or_else(|| "cluster.local".to_owned()),
            autowire: AutowireConfig::read(environment, enabled, interceptors)?,
        };
        Ok(enabled.then_some(config))
    }
}

fn lease_duration(environment: &Environment) -> Result<Duration, EnvError> {
    let usable = |value: &Duration| *value >= SHORTEST_LEASE && value.subsec_nanos() == 0;
    let parse = |text: &str| duration::parse(text).ok().filter(usable).ok_or(());
    let duration = environment.parsed("KEDA_HTTP_LEASE_DURATION", LEASE_DURATION, parse)?;
    Ok(duration.unwrap_or(Duration::from_secs(15)))
}
