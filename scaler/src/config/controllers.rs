//! What the leader does, and how it becomes the leader.

use std::time::Duration;

use keda_http_core::duration;
use keda_http_runtime::settings::{BOOLEAN, DNS_NAME, Kind, Settings, TEXT};

use super::CONTROLLERS;
use super::autowire::AutowireConfig;
use super::interceptors::InterceptorsConfig;

/// What the leader does, and how it becomes the leader.
#[derive(Debug, Clone)]
pub struct ControllersConfig {
    /// The Lease in the scaler's own namespace.
    pub lease_name: String,
    /// How long a leader that no longer renews the Lease still holds it; 15 s by default, as is usual.
    pub lease_duration: Duration,
    /// This replica, as the Lease names its holder.
    pub replica: String,
    /// The DNS domain of Services, which tells names inside the cluster from hosts that belong to a namespace.
    pub cluster_domain: String,
    /// The autowire controller; `None` when Services are left alone.
    pub autowire: Option<AutowireConfig>,
}

/// A leader renews at every third, and below a second an API server that is busy would end its lead.
const SHORTEST_LEASE: Duration = Duration::from_secs(3);

impl ControllersConfig {
    pub(super) fn read(settings: &Settings, interceptors: &InterceptorsConfig) -> Option<Self> {
        let own = settings.section(CONTROLLERS);
        let help = "Take part in the election of a leader, and run the controllers as the leader";
        let is_enabled = own.variable("KEDA_HTTP_CONTROLLERS_ENABLED", &BOOLEAN, help);
        let is_enabled = is_enabled.default(false);
        let help = "Name of the Lease in the scaler's namespace";
        let lease_name = own.variable("KEDA_HTTP_LEASE_NAME", &TEXT, help);
        let lease_name = lease_name.default("keda-add-ons-http-scaler".to_owned());
        let help = "How long a leader that no longer renews the Lease still holds it";
        let lease_duration = own.variable("KEDA_HTTP_LEASE_DURATION", &LEASE_DURATION, help);
        let lease_duration = lease_duration.default(Duration::from_secs(15));
        let help = "Name of this replica in the Lease; in a pod the pod's name";
        let replica = own.variable("HOSTNAME", &TEXT, help).default("scaler".to_owned());
        let domain = own.variable("KEDA_HTTP_CLUSTER_DOMAIN", &DNS_NAME, "DNS domain of Services");
        let config = Self {
            lease_name,
            lease_duration,
            replica,
            cluster_domain: domain.default("cluster.local".to_owned()),
            autowire: AutowireConfig::read(settings, is_enabled, interceptors),
        };
        is_enabled.then_some(config)
    }
}

const LEASE_DURATION: Kind<Duration> = Kind {
    allowed: "a duration of whole seconds, because Leases have no fractions, 3s or more",
    parse: |text| {
        let is_usable = |value: &Duration| *value >= SHORTEST_LEASE && value.subsec_nanos() == 0;
        duration::parse(text).ok().filter(is_usable)
    },
    show: |value| duration::format(*value),
};
