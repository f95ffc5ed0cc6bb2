//! How routes are made from the objects, wherever these come from.

use std::time::Duration;

use keda_http_runtime::settings::{DNS_LABEL, DNS_NAME, Kind, Settings};

use super::LIMIT;

/// How routes are made from the objects.
#[derive(Debug, Clone)]
pub struct RoutingConfig {
    /// Where the interceptor itself is, and with it the ConfigMaps that are written for it.
    pub own_namespace: Option<String>,
    /// Who owns a host that several namespaces claim.
    pub host_ownership: HostOwnership,
    /// The DNS domain of Services; `cluster.local` by default, as in Kubernetes.
    pub cluster_domain: String,
    /// How old routes and endpoints may become, without the API server, before the interceptor is not ready; any age by
    /// default, because old routes are better than no data path.
    pub max_staleness: Option<Duration>,
}

/// Who owns a host that routes of several namespaces claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostOwnership {
    /// The namespace that had it first: nobody takes traffic away from another namespace.
    Namespace,
    /// No namespace: the rules of all namespaces are in one table, as in the Go add-on.
    None,
}

impl RoutingConfig {
    pub(super) fn read(settings: &Settings) -> Self {
        let own = "The interceptor's own namespace";
        let ownership = "Who owns a host that routes of several namespaces claim";
        let staleness = "Not ready when the last contact with the API server is longer ago than this";
        Self {
            own_namespace: settings
                .variable("KEDA_HTTP_NAMESPACE", &DNS_LABEL, own)
                .optional("that of the service account; \"default\" with a directory"),
            host_ownership: settings
                .variable("KEDA_HTTP_HOST_OWNERSHIP", &OWNERSHIP, ownership)
                .default(HostOwnership::Namespace),
            cluster_domain: settings
                .variable("KEDA_HTTP_CLUSTER_DOMAIN", &DNS_NAME, "DNS domain of Services")
                .default("cluster.local".to_owned()),
            max_staleness: settings
                .variable("KEDA_HTTP_ROUTING_TABLE_MAX_STALENESS", &LIMIT, staleness)
                .default(None),
        }
    }
}

const OWNERSHIP: Kind<HostOwnership> = Kind {
    allowed: "namespace (the one that claimed it first) or none (the rules of all namespaces are one table)",
    parse: |text| match text {
        "namespace" => Some(HostOwnership::Namespace),
        "none" => Some(HostOwnership::None),
        _ => None,
    },
    show: |ownership| match ownership {
        HostOwnership::Namespace => "namespace".to_owned(),
        HostOwnership::None => "none".to_owned(),
    },
};
