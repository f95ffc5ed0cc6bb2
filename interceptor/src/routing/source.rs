//! Where objects come from: an API server, or a directory of manifests.

use anyhow::{Context, Result};
use keda_http_kubernetes::object::Kind;
use keda_http_kubernetes::source::cluster::{self, ClusterSettings};
use keda_http_kubernetes::source::{Source, directory};
use keda_http_kubernetes::{hosts, listeners};

use crate::config::{ClusterConfig, Config, SourceConfig};

/// What the data path reads: everything but workloads.
const KINDS: [Kind; 6] = [
    Kind::InterceptorRoute,
    Kind::HttpScaledObject,
    Kind::ScaledObject,
    Kind::Service,
    Kind::EndpointSlice,
    Kind::ConfigMap,
];

/// All objects, and which namespace is the interceptor's own.
pub struct Objects {
    /// Objects and their changes.
    pub source: Source,
    /// The namespace of the interceptor itself, and with it of the ConfigMaps that are written for it.
    pub own_namespace: String,
}

impl Objects {
    /// Those that the settings name.
    ///
    /// # Errors
    /// When there is no directory, no API server, or they cannot be read.
    pub async fn open(config: &Config) -> Result<Self> {
        let own_namespace = config.routing.own_namespace.clone();
        match &config.source {
            // Manifests belong to this namespace unless they say otherwise.
            SourceConfig::Manifests(directory) => Ok(Self {
                source: directory::open(directory)?,
                own_namespace: own_namespace.unwrap_or_else(|| "default".to_owned()),
            }),
            SourceConfig::Cluster(cluster) => {
                let (client, namespace) = cluster::client()
                    .await
                    .context("KEDA_HTTP_MANIFESTS is not set, so the objects are those of the API server")?;
                Ok(Self::of_cluster(client, own_namespace.unwrap_or(namespace), cluster))
            }
        }
    }

    /// Those of an API server.
    pub fn of_cluster(client: kube::Client, own_namespace: String, config: &ClusterConfig) -> Self {
        let own = [listeners::CONFIG_MAP, hosts::CONFIG_MAP].map(ToOwned::to_owned);
        let settings = ClusterSettings {
            watch_namespace: config.watch_namespace.clone(),
            kinds: KINDS.into_iter().collect(),
            own_config_maps: Some((own_namespace.clone(), own.into())),
            autowired: false,
            slices_of: None,
        };
        Self {
            source: cluster::open(client, settings),
            own_namespace,
        }
    }
}
