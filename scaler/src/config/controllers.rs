//! What the leader does, and how it becomes the leader.

use std::time::Duration;

use keda_http_core::duration;
use keda_http_runtime::settings::{BOOLEAN, DNS_NAME, Kind, Settings, TEXT};

use super::autowire::AutowireConfig;
use super::interceptors::InterceptorsConfig;
use super::{CONTROLLERS, name};

/// What the leader does, and how it becomes the leader.
#[derive(Debug, Clone)]
pub struct ControllersConfig {
    /// The Lease in the scaler's own namespace.
    pub lease_name: String,
    /// How long a leader that is gone still counts as the leader; 15 s by default, as is usual.
    pub lease_duration: Duration,
    /// This replica, as the Lease names its holder.
    pub replica: String,
    /// The DNS domain of Services, by which names inside the cluster are told from hosts that belong to a namespace.
    pub cluster_domain: String,
    /// The autowire controller; `None` when Services are left alone.
    pub autowire: Option<AutowireConfig>,
}

/// A leader renews at every third, and below a second an API server that is busy would end its lead.
const SHORTEST_LEASE: Duration = Duration::from_secs(3);

impl ControllersConfig {
    pub(super) fn read(settings: &Settings, interceptors: &InterceptorsConfig) -> Option<Self> {
        let own = settings.section(CONTROLLERS);
        let is_enabled = own
            .variable(
                "KEDA_HTTP_CONTROLLERS_ENABLED",
                &BOOLEAN,
                "Take part in the election of a leader, and run the controllers as the leader",
            )
            .default(false);
        let config = Self {
            lease_name: name(
                &own,
                "KEDA_HTTP_LEASE_NAME",
                "keda-add-ons-http-scaler",
                "Name of the Lease in the scaler's namespace",
            ),
            lease_duration: own
                .variable(
                    "KEDA_HTTP_LEASE_DURATION",
                    &LEASE_DURATION,
                    "How long a leader that is gone still counts as the leader",
                )
                .default(Duration::from_secs(15)),
            replica: own
                .variable(
                    "HOSTNAME",
                    &TEXT,
                    "Name of this replica in the Lease; in a pod the pod's name",
                )
                .default("scaler".to_owned()),
            cluster_domain: own
                .variable("KEDA_HTTP_CLUSTER_DOMAIN", &DNS_NAME, "DNS domain of Services")
                .default("cluster.local".to_owned()),
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
