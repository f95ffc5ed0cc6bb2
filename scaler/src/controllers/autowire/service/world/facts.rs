//! What is kept of a Service.

use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use keda_http_core::route::PortRef;

/// What is kept of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceFacts {
    /// Its UID.
    pub uid: String,
    /// Where its endpoints come from.
    pub shape: Shape,
    /// The address families of its slices.
    pub families: Vec<Family>,
    /// Its ports.
    pub ports: Vec<Port>,
}

/// Where the endpoints of a Service come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// From whoever writes them.
    WithoutSelector,
    /// From Kubernetes.
    WithSelector,
    /// It has no address of its own: clients would meet the data path at the Service's port, where nobody listens.
    Headless,
    /// It is another name.
    ExternalName,
}

/// An address family, as slices name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4
    V4,
    /// IPv6
    V6,
}

/// A port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Empty when it has none; slices name it alike.
    pub name: String,
    /// The number clients use.
    pub number: u16,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// How it speaks.
    pub app_protocol: Option<String>,
}

impl Family {
    /// As `addressType` has it.
    pub fn address_type(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    /// As names of slices have it.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
        }
    }

    /// Whether the address is of this family.
    pub fn has(self, address: &std::net::IpAddr) -> bool {
        address.is_ipv4() == (self == Self::V4)
    }
}

impl Port {
    /// Whether a trigger means this port.
    pub fn is(&self, port: &PortRef) -> bool {
        match port {
            PortRef::Number(number) => self.number == *number,
            PortRef::Name(name) => self.name == *name,
        }
    }

    /// Its name, or else its number: what names of slices are made of.
    pub fn label(&self) -> String {
        if self.name.is_empty() {
            self.number.to_string()
        } else {
            self.name.clone()
        }
    }
}

impl ServiceFacts {
    /// The TCP port that a trigger means.
    pub fn port(&self, port: &PortRef) -> Option<usize> {
        self.ports
            .iter()
            .position(|known| known.protocol == "TCP" && known.is(port))
    }

    /// The port of this Service, as the one with the pods, for a port of the Service in front of it: the one of the same
    /// name, else the one of the same number.
    pub fn port_behind(&self, front: &Port) -> Option<&Port> {
        let same_protocol = || self.ports.iter().filter(|port| port.protocol == front.protocol);
        let named = same_protocol().find(|port| !front.name.is_empty() && port.name == front.name);
        named.or_else(|| same_protocol().find(|port| port.number == front.number))
    }

    /// Its ports, for people.
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

pub(super) fn of(service: &Service) -> ServiceFacts {
    let spec = service.spec.as_ref();
    let ports = spec.and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
    ServiceFacts {
        uid: service.metadata.uid.clone().unwrap_or_default(),
        shape: spec.map_or(Shape::WithoutSelector, shape),
        families: families(spec),
        ports: ports
            .iter()
            .map(|port| Port {
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

/// The API server always says which they are.
fn families(spec: Option<&ServiceSpec>) -> Vec<Family> {
    let families = spec.and_then(|spec| spec.ip_families.as_deref()).unwrap_or_default();
    let families = families.iter().filter_map(|family| match family.as_str() {
        "IPv4" => Some(Family::V4),
        "IPv6" => Some(Family::V6),
        _ => None,
    });
    let families: Vec<Family> = families.collect();
    if families.is_empty() {
        vec![Family::V4]
    } else {
        families
    }
}
