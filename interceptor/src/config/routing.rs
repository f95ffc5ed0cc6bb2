//! What is made of the objects, wherever they come from.

use std::time::Duration;

use keda_http_runtime::env::{EnvError, Environment};
use serde::Serialize;

use super::{go_duration, limit, optional};

/// What is made of the objects.
#[derive(Debug, Clone, Serialize)]
pub struct RoutingConfig {
    /// `KEDA_HTTP_NAMESPACE`: where the interceptor itself is, and with it the ConfigMaps that are written for it; default the
    /// namespace of the service account, and `default` with a directory.
    pub own_namespace: Option<String>,
    /// `KEDA_HTTP_HOST_OWNERSHIP`.
    pub host_ownership: HostOwnership,
    /// `KEDA_HTTP_CLUSTER_DOMAIN`: the DNS domain of Services; default `cluster.local`, Kubernetes' own default.
    pub cluster_domain: String,
    /// `KEDA_HTTP_ROUTING_TABLE_MAX_STALENESS`: how old routes and endpoints may be, when the API server is away, before the
    /// process is not ready; default never: what is known is better than no data path.
    #[serde(serialize_with = "optional")]
    pub max_staleness: Option<Duration>,
}

/// Whose a host is that routes of several namespaces claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HostOwnership {
    /// The namespace that had it first: nobody takes traffic away from another namespace.
    Namespace,
    /// Nobody's: the rules of all namespaces compete, as upstream.
    None,
}

impl RoutingConfig {
    pub(super) fn from_env(env: &Environment) -> Result<Self, EnvError> {
        Ok(Self {
            own_namespace: namespace(env, "KEDA_HTTP_NAMESPACE")?,
            host_ownership: HostOwnership::from_env(env)?,
            cluster_domain: cluster_domain(env)?.unwrap_or_else(|| "cluster.local".to_owned()),
            max_staleness: limit(go_duration(env, "KEDA_HTTP_ROUTING_TABLE_MAX_STALENESS")?.unwrap_or_default()),
        })
    }
}

impl HostOwnership {
    fn from_env(env: &Environment) -> Result<Self, EnvError> {
        let parse = |text: &str| match text {
            "namespace" => Ok(Self::Namespace),
            "none" => Ok(Self::None),
            _ => Err(()),
        };
        let allowed = "namespace (a host belongs to the namespace that had it first) or none (as upstream)";
        let set = env.parsed("KEDA_HTTP_HOST_OWNERSHIP", allowed, parse)?;
        Ok(set.unwrap_or(Self::Namespace))
    }
}

/// A namespace, where one is set.
pub(super) fn namespace(env: &Environment, name: &str) -> Result<Option<String>, EnvError> {
    let parse = |text: &str| is_label(text).then(|| text.to_owned()).ok_or(());
    env.parsed(
        name,
        "one namespace: lower-case letters, digits and -, at most 63",
        parse,
    )
}

fn cluster_domain(env: &Environment) -> Result<Option<String>, EnvError> {
    let parse = |text: &str| text.split('.').all(is_label).then(|| text.to_owned()).ok_or(());
    let allowed = "a DNS domain in lower case, such as cluster.local";
    env.parsed("KEDA_HTTP_CLUSTER_DOMAIN", allowed, parse)
}

/// RFC 1123, as Kubernetes has it.
fn is_label(text: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let at_an_end = text.starts_with('-') || text.ends_with('-');
    (1..=63).contains(&text.len()) && text.bytes().all(inside) && !at_an_end
}
