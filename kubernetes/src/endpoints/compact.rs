//! The parts of Services and EndpointSlices that decide where requests for a port can go.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{ObjectReference, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};

use keda_http_core::session::EndpointId;

use super::AppProtocol;
use crate::wired::points_to_interceptors;

/// A TCP port of a Service or of an EndpointSlice: in a Service the number clients use, in a slice the container's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Port {
    /// Empty when it has no name.
    pub(super) name: Box<str>,
    pub(super) number: u16,
    pub(super) protocol: AppProtocol,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ready {
    pub(super) address: IpAddr,
    /// Equal for the IPv4 and the IPv6 address of a pod: a hash of the endpoint's reference, 0 without one.
    pub(super) pod: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Slice {
    pub(super) ports: Box<[Port]>,
    pub(super) ready: Box<[Ready]>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Facts {
    /// Its TCP ports.
    pub(super) ports: Box<[Port]>,
    /// Its target, when it is of type ExternalName.
    pub(super) external_name: Option<Box<str>>,
}

pub(super) fn facts_of(service: &Service) -> Facts {
    let Some(spec) = &service.spec else {
        return Facts::default();
    };
    let ports = spec.ports.as_deref().unwrap_or_default();
    let tcp = ports.iter().filter(|port| is_tcp(port.protocol.as_deref()));
    let is_external = spec.type_.as_deref() == Some("ExternalName");
    Facts {
        ports: tcp
            .filter_map(|port| Port::new(port.name.as_deref(), port.port, port.app_protocol.as_deref()))
            .collect(),
        external_name: spec
            .external_name
            .as_deref()
            .filter(|name| is_external && !name.is_empty())
            .map(Into::into),
    }
}

pub(super) fn slice_of(slice: &EndpointSlice) -> Slice {
    if !matches!(slice.address_type.as_str(), "IPv4" | "IPv6") {
        tracing::debug!(
            slice = slice.metadata.name,
            address_type = slice.address_type,
            "ignoring an EndpointSlice without IP addresses"
        );
        return Slice::default();
    }
    if points_to_interceptors(slice) {
        return Slice::default();
    }
    let ports = slice.ports.as_deref().unwrap_or_default();
    let tcp = ports.iter().filter(|port| is_tcp(port.protocol.as_deref()));
    Slice {
        ports: tcp
            .filter_map(|port| Port::new(port.name.as_deref(), port.port?, port.app_protocol.as_deref()))
            .collect(),
        ready: slice
            .endpoints
            .iter()
            .filter(|endpoint| is_ready(endpoint))
            .filter_map(Ready::new)
            .collect(),
    }
}

impl Port {
    fn new(name: Option<&str>, number: i32, app_protocol: Option<&str>) -> Option<Self> {
        let number = u16::try_from(number).ok().filter(|number| *number > 0)?;
        let name = name.unwrap_or_default();
        Some(Self {
            name: name.into(),
            number,
            protocol: AppProtocol::of_port(name, app_protocol),
        })
    }
}

impl Ready {
    /// All addresses of an endpoint are interchangeable, and only the first is defined to be used.
    fn new(endpoint: &Endpoint) -> Option<Self> {
        let text = endpoint.addresses.first()?;
        let Ok(address) = text.parse() else {
            tracing::debug!(address = text, "ignoring an endpoint address that is not an IP address");
            return None;
        };
        Some(Self {
            address,
            pod: endpoint.target_ref.as_ref().map_or(0, pod_of),
        })
    }
}

fn pod_of(target: &ObjectReference) -> u64 {
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    let id = match target.uid.as_deref().filter(|uid| !uid.is_empty()) {
        Some(uid) => id_of_text(uid),
        None => {
            let (kind, namespace, name) = (part(&target.kind), part(&target.namespace), part(&target.name));
            id_of_text(&format!("{kind}/{namespace}/{name}"))
        }
    };
    id.0.max(1)
}

/// The same at every interceptor of any version, because cookies contain it.
pub(super) fn id_of_text(text: &str) -> EndpointId {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    let first = hash.as_ref().iter().take(8);
    EndpointId(first.fold(0, |id, byte| id << 8 | u64::from(*byte)))
}

/// Whether an endpoint takes requests: what its `ready` condition says, and without one unless it is terminating.
///
/// Kubernetes sets `ready` to false on terminating pods itself, except for Services with `publishNotReadyAddresses`, which
/// ask for all pods.
pub fn is_ready(endpoint: &Endpoint) -> bool {
    let Some(conditions) = &endpoint.conditions else {
        return true;
    };
    conditions.ready.unwrap_or(!is_terminating(endpoint))
}

/// Whether the pod is terminating, whatever its Service publishes.
pub fn is_terminating(endpoint: &Endpoint) -> bool {
    let conditions = endpoint.conditions.as_ref();
    conditions.is_some_and(|conditions| conditions.terminating == Some(true))
}

fn is_tcp(protocol: Option<&str>) -> bool {
    matches!(protocol, None | Some("TCP"))
}
