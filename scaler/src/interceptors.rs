//! Which interceptors there are: a fixed list, or what the EndpointSlices of their Service say. Either way the set is
//! published through a watch.

pub mod discovery;
pub mod open_ports;
pub mod peers;
pub mod queue;
pub mod slices;
pub mod subscription;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use axum::http::uri::Authority;
use tokio::sync::watch;

/// An interceptor's admin port, as `host:port`. Its name in logs, problems and the folded demand.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interceptor(String);

/// A text that is no `host:port`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no host:port")]
pub struct InvalidInterceptor(pub String);

/// All interceptors, as they are known now, each with whether requests reach it: it is ready, and does not terminate. `None`
/// until they are known for the first time.
pub type Interceptors = Option<BTreeMap<Interceptor, bool>>;

/// A set that never changes; requests reach all of it. The sender must be kept: dropping it says that nobody looks for
/// interceptors any more.
pub fn fixed(interceptors: impl IntoIterator<Item = Interceptor>) -> watch::Sender<Interceptors> {
    let all = interceptors.into_iter().map(|interceptor| (interceptor, true));
    watch::Sender::new(Some(all.collect()))
}

impl Interceptor {
    /// The address, as `host:port`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<SocketAddr> for Interceptor {
    fn from(address: SocketAddr) -> Self {
        Self(address.to_string())
    }
}

impl FromStr for Interceptor {
    type Err = InvalidInterceptor;

    /// `host:port`; IPv6 addresses in brackets; no scheme, no user, no path.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let authority = Authority::from_str(text).ok().filter(|authority| {
            let has_port = authority.port_u16().is_some_and(|port| port > 0);
            has_port && !authority.host().is_empty() && !text.contains('@')
        });
        let authority = authority.ok_or_else(|| InvalidInterceptor(text.to_owned()))?;
        Ok(Self(authority.as_str().to_owned()))
    }
}

impl fmt::Display for Interceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Interceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interceptor_is_a_host_with_a_port() {
        for good in ["127.0.0.1:9090", "[::1]:9090", "interceptor-admin.keda:9090"] {
            assert_eq!(good.parse::<Interceptor>().unwrap().as_str(), good);
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
            assert_eq!(bad.parse::<Interceptor>(), Err(InvalidInterceptor(bad.to_owned())));
        }
    }
}
