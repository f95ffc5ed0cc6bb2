//! The set of interceptors: a fixed list, or discovered by the EndpointSlices of their Service. Either way it is
//! published through a watch.

pub mod discovery;
pub mod open_ports;
pub mod peers;
pub mod queue;
pub mod slices;
pub mod subscription;

use std::collections::BTreeMap;

use tokio::sync::watch;

use crate::host_port::HostPort;

/// The interceptors, each with whether new requests can reach it: it is ready and not terminating. `None` until the set
/// is known for the first time.
pub type Interceptors = Option<BTreeMap<HostPort, bool>>;

/// A set that never changes, all of it reachable. The sender must be kept: dropping it means that discovery has ended.
pub fn fixed(interceptors: impl IntoIterator<Item = HostPort>) -> watch::Sender<Interceptors> {
    let all = interceptors.into_iter().map(|interceptor| (interceptor, true));
    watch::Sender::new(Some(all.collect()))
}
