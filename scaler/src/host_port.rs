//! A `host:port` as it is set, given to KEDA, or found in EndpointSlices.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use axum::http::uri::Authority;

/// A `host:port`. The one of its admin port identifies an interceptor in logs, problems and the combined demand.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort(String);

impl HostPort {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<SocketAddr> for HostPort {
    fn from(address: SocketAddr) -> Self {
        Self(address.to_string())
    }
}

impl FromStr for HostPort {
    type Err = &'static str;

    /// IPv6 addresses are in brackets. A scheme, a user or a path is not allowed.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_valid = Authority::from_str(text).is_ok_and(|authority| {
            let has_port = authority.port_u16().is_some_and(|port| port > 0);
            has_port && !authority.host().is_empty() && !text.contains('@')
        });
        is_valid.then(|| Self(text.to_owned())).ok_or("not a valid host:port")
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheme_a_user_and_a_path_are_not_allowed() {
        for good in ["127.0.0.1:9090", "[::1]:9090", "interceptor-admin.keda:9090"] {
            assert_eq!(good.parse::<HostPort>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "host",
            ":9090",
            "host:0",
            "host:x",
            "host:99999",
            "http://host:9090",
            "host:9090/queue",
            "a@host:1",
        ] {
            assert_eq!(bad.parse::<HostPort>(), Err("not a valid host:port"));
        }
    }
}
