//! The fields of a Service that autowire decides by.

use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use keda_http_core::route::PortRef;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceFacts {
    pub uid: String,
    /// Where its endpoints come from.
    pub shape: Shape,
    /// The address families of its slices.
    pub families: Vec<IpFamily>,
    pub ports: Vec<PortFacts>,
}

/// Where the endpoints of a Service come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// From EndpointSlices that somebody writes, such as autowire.
    WithoutSelector,
    /// From Kubernetes, which finds the pods by the selector.
    WithSelector,
    /// The Service has no address of its own: clients would call the interceptors at the Service's own port, on which
    /// they do not listen.
    Headless,
    /// The Service is a DNS alias.
    ExternalName,
}

/// An address family, as slices name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum IpFamily {
    V4,
    V6,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortFacts {
    /// Empty when the port has no name; slices use the same name.
    pub name: String,
    /// The number clients use.
    pub number: u16,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    pub app_protocol: Option<String>,
}

impl IpFamily {
    /// The value of a slice's `addressType`.
    pub fn address_type(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    /// The last part of the names of slices.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
        }
    }

    /// Whether the address is of this family.
    pub fn contains(self, address: &std::net::IpAddr) -> bool {
        address.is_ipv4() == (self == Self::V4)
    }
}

impl PortFacts {
    /// Whether a trigger refers to this port.
    pub fn matches(&self, port: &PortRef) -> bool {
        match port {
            PortRef::Number(number) => self.number == *number,
            PortRef::Name(name) => self.name == *name,
        }
    }

    /// Its name, or else its number, as part of the names of slices.
    pub fn label(&self) -> String {
        if self.name.is_empty() {
            self.number.to_string()
        } else {
            self.name.clone()
        }
    }
}

impl ServiceFacts {
    /// The index of the TCP port that a trigger refers to.
    pub fn port(&self, port: &PortRef) -> Option<usize> {
        self.ports
            .iter()
            .position(|known| known.protocol == "TCP" && known.matches(port))
    }

    /// The port of this fallback Service for a port of the autowired one: the one with the same name, or else the same
    /// number.
    pub fn port_like(&self, front: &PortFacts) -> Option<&PortFacts> {
        let same_protocol = || self.ports.iter().filter(|port| port.protocol == front.protocol);
        let named = same_protocol().find(|port| !front.name.is_empty() && port.name == front.name);
        named.or_else(|| same_protocol().find(|port| port.number == front.number))
    }

    /// Its ports, for messages.
    pub fn port_list(&self) -> String {
        let ports = self.ports.iter().map(|port| match port.name.as_str() {
            "" => port.number.to_string(),
            name => format!("{} ({name})", port.number),
        });
        let ports: Vec<String> = ports.collect();
        if ports.is_empty() {
            "none".to_owned()
        } else {
            ports.join(", ")
        }
    }
}

pub(super) fn read_service(service: &Service) -> ServiceFacts {
    let spec = service.spec.as_ref();
    let ports = spec.and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
    ServiceFacts {
        uid: service.metadata.uid.clone().unwrap_or_default(),
        shape: spec.map_or(Shape::WithoutSelector, shape),
        families: families(spec),
        ports: ports
            .iter()
            .map(|port| PortFacts {
                name: port.name.clone().unwrap_or_default(),
                number: u16::try_from(port.port).unwrap_or_default(),
                protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
                app_protocol: port.app_protocol.clone(),
            })
            .collect(),
    }
}

fn shape(spec: &ServiceSpec) -> Shape {
    if spec.type_.as_deref() == Some("ExternalName") {
        Shape::ExternalName
    } else if spec.selector.as_ref().is_some_and(|selector| !selector.is_empty()) {
        Shape::WithSelector
    } else if spec.cluster_ip.as_deref() == Some("None") {
        Shape::Headless
    } else {
        Shape::WithoutSelector
    }
}

/// The API server always sets them.
fn families(spec: Option<&ServiceSpec>) -> Vec<IpFamily> {
    let families = spec.and_then(|spec| spec.ip_families.as_deref()).unwrap_or_default();
    let families = families.iter().filter_map(|family| match family.as_str() {
        "IPv4" => Some(IpFamily::V4),
        "IPv6" => Some(IpFamily::V6),
        _ => None,
    });
    let families: Vec<IpFamily> = families.collect();
    if families.is_empty() {
        vec![IpFamily::V4]
    } else {
        families
    }
}
