//! The ports on which each interceptor accepts the traffic of autowired Services, as the interceptors report.

use std::collections::{BTreeMap, BTreeSet};

use keda_http_proto::pending;
use tokio::sync::watch;

use crate::host_port::HostPort;

/// The open ports of each interceptor that has ever reported them. An unreachable interceptor keeps the last reported
/// ones, because readiness tells whether it is alive.
pub type OpenPortsByInterceptor = BTreeMap<HostPort, BTreeSet<u16>>;

/// The open ports of all interceptors; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct OpenPorts {
    open: watch::Sender<OpenPortsByInterceptor>,
}

impl OpenPorts {
    /// The open ports, and their changes.
    pub fn subscribe(&self) -> watch::Receiver<OpenPortsByInterceptor> {
        self.open.subscribe()
    }

    /// Applies a report. The first one of a stream is complete, because the interceptor may have restarted.
    pub(crate) fn observe(&self, interceptor: &HostPort, report: &pending::Report, first: bool) {
        match &report.listeners {
            Some(listeners) => self.set(interceptor, ports(listeners)),
            None if first => self.forget(interceptor),
            None => {}
        }
    }

    /// The interceptor no longer exists.
    pub(crate) fn forget(&self, interceptor: &HostPort) {
        self.open.send_if_modified(|open| open.remove(interceptor).is_some());
    }

    fn set(&self, interceptor: &HostPort, ports: BTreeSet<u16>) {
        self.open
            .send_if_modified(|open| open.insert(interceptor.clone(), ports.clone()) != Some(ports));
    }
}

/// Numbers that are not valid ports are ignored.
fn ports(listeners: &pending::Listeners) -> BTreeSet<u16> {
    let ports = listeners.ports.iter();
    ports.filter_map(|port| u16::try_from(*port).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(ports: Option<&[u32]>) -> pending::Report {
        pending::Report {
            listeners: ports.map(|ports| pending::Listeners { ports: ports.to_vec() }),
            ..pending::Report::default()
        }
    }

    #[test]
    fn ports_stay_as_reported_until_the_next_report_or_a_restart() {
        let open_ports = OpenPorts::default();
        let mut open = open_ports.subscribe();
        let interceptor: HostPort = "10.0.0.1:9090".parse().unwrap();
        let mut after = |ports, first| {
            open_ports.observe(&interceptor, &report(ports), first);
            let changed = open.has_changed().unwrap();
            (open.borrow_and_update().get(&interceptor).cloned(), changed)
        };
        assert_eq!(after(None, true), (None, false));
        let ports = BTreeSet::from([20_000, 20_001]);
        assert_eq!(
            after(Some(&[20_001, 20_000, 99_999]), false),
            (Some(ports.clone()), true)
        );
        assert_eq!(after(None, false), (Some(ports.clone()), false), "absent: as it was");
        assert_eq!(
            after(Some(&[20_000, 20_001]), false),
            (Some(ports), false),
            "nothing changed"
        );
        assert_eq!(after(Some(&[]), false), (Some(BTreeSet::new()), true));
        assert_eq!(after(None, true), (None, true), "restarted, and reports no ports");
    }

    #[test]
    fn an_interceptor_that_is_gone_has_no_ports() {
        let open_ports = OpenPorts::default();
        let interceptor: HostPort = "10.0.0.1:9090".parse().unwrap();
        open_ports.observe(&interceptor, &report(Some(&[20_000])), true);
        open_ports.forget(&interceptor);
        assert!(open_ports.subscribe().borrow().is_empty());
    }
}
