//! The sockets behind the name of an ExternalName Service.
//!
//! The author of such a Service chooses the name, and so could reach what only the interceptor can reach: its own
//! loopback, or the node's metadata service, which is link-local. Such addresses are never dialled, whatever name
//! resolves to them. All others can be reached by the workloads of the cluster anyway, and NetworkPolicies apply to the
//! interceptor as well.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// For the system's resolver.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Why a name gives no socket to dial.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResolveError {
    /// The resolver reported an error.
    #[error("resolving {host}: {source}")]
    Failed { host: String, source: io::Error },
    /// The resolver did not answer in time, or the name has no address.
    #[error("resolving {0}: no answer")]
    NoAnswer(String),
    /// The name resolves only to addresses that are never dialled.
    #[error("resolving {host}: {address} is a loopback, link-local or multicast address, which is never dialled")]
    Forbidden { host: String, address: IpAddr },
}

/// The sockets behind a name that may be dialled, the preferred one and the others.
///
/// # Errors
/// When there is none.
pub(crate) async fn sockets(host: &str, port: u16) -> Result<(SocketAddr, Vec<SocketAddr>), ResolveError> {
    let found = tokio::time::timeout(TIMEOUT, tokio::net::lookup_host((host, port))).await;
    let found = found.map_err(|_| ResolveError::NoAnswer(host.to_owned()))?;
    let found = found.map_err(|source| ResolveError::Failed {
        host: host.to_owned(),
        source,
    })?;
    allowed(host, found)
}

fn allowed(host: &str, found: impl Iterator<Item = SocketAddr>) -> Result<(SocketAddr, Vec<SocketAddr>), ResolveError> {
    let (mut forbidden, mut sockets) = (None, Vec::new());
    for socket in found {
        if may_be_dialled(socket.ip()) {
            sockets.push(socket);
        } else {
            forbidden.get_or_insert(socket.ip());
        }
    }
    let host = host.to_owned();
    match (sockets.is_empty(), forbidden) {
        (false, _) => Ok((sockets.remove(0), sockets)),
        (true, Some(address)) => Err(ResolveError::Forbidden { host, address }),
        (true, None) => Err(ResolveError::NoAnswer(host)),
    }
}

fn may_be_dialled(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            !(v4.is_loopback() || v4.is_link_local() || v4.is_multicast() || v4.is_broadcast() || v4.octets()[0] == 0)
        }
        IpAddr::V6(v6) => !(v6.is_loopback() || v6.is_unspecified() || v6.is_unicast_link_local() || v6.is_multicast()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_the_interceptors_own_is_never_dialled() {
        for address in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
        ] {
            assert!(!may_be_dialled(address.parse().unwrap()), "{address}");
        }
        for address in ["10.0.0.1", "192.168.1.1", "93.184.216.34", "fd00::1", "2001:db8::1"] {
            assert!(may_be_dialled(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn what_may_be_dialled_is_taken_in_the_resolvers_order() {
        let socket = |text: &str| text.parse::<SocketAddr>().unwrap();
        let found = ["127.0.0.1:80", "10.0.0.2:80", "[fe80::1]:80", "10.0.0.1:80"].map(socket);
        let (first, others) = allowed("a", found.into_iter()).unwrap();
        assert_eq!((first, others), (socket("10.0.0.2:80"), vec![socket("10.0.0.1:80")]));
        let error = allowed("a", found.into_iter().take(1)).unwrap_err().to_string();
        assert!(error.contains("resolving a: 127.0.0.1 is a loopback"), "{error}");
        assert!(matches!(
            allowed("a", std::iter::empty()),
            Err(ResolveError::NoAnswer(_))
        ));
    }

    #[tokio::test]
    async fn localhost_is_refused_by_its_name() {
        assert!(matches!(
            sockets("localhost", 80).await,
            Err(ResolveError::Forbidden { .. })
        ));
        assert_eq!(sockets("10.1.2.3", 80).await.unwrap().0.to_string(), "10.1.2.3:80");
    }
}
