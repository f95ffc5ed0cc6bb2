//! On which ports each interceptor takes the traffic of autowired Services now, as the interceptors themselves report.

use std::collections::{BTreeMap, BTreeSet};

use keda_http_proto::pending;
use tokio::sync::watch;

use crate::interceptors::Interceptor;

/// The open ports of each interceptor that has ever told of them. One that cannot be reached keeps its last word: whether
/// it is alive is told by its readiness.
pub type OpenListeners = BTreeMap<Interceptor, BTreeSet<u16>>;

/// The open ports; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Listeners {
    open: watch::Sender<OpenListeners>,
}

impl Listeners {
    /// The open ports, and their changes.
    pub fn subscribe(&self) -> watch::Receiver<OpenListeners> {
        self.open.subscribe()
    }

    /// What a report says. The first one of a stream says all: the interceptor may have restarted.
    pub fn observe(&self, interceptor: &Interceptor, report: &pending::Report, first: bool) {
        match &report.listeners {
            Some(listeners) => self.set(interceptor, ports(listeners)),
            None if first => self.forget(interceptor),
            None => {}
        }
    }

    /// The interceptor is gone.
    pub fn forget(&self, interceptor: &Interceptor) {
        self.open.send_if_modified(|open| open.remove(interceptor).is_some());
    }

    fn set(&self, interceptor: &Interceptor, ports: BTreeSet<u16>) {
        self.open.send_if_modified(|open| {
            let news = open.get(interceptor) != Some(&ports);
            if news {
                open.insert(interceptor.clone(), ports);
            }
            news
        });
    }
}

/// A number that is no port cannot be one that is waited for.
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
    fn ports_stay_as_told_until_they_are_told_anew_or_the_interceptor_restarts() {
        let listeners = Listeners::default();
        let mut open = listeners.subscribe();
        let interceptor: Interceptor = "10.0.0.1:9090".parse().unwrap();
        let mut after = |ports, first| {
            listeners.observe(&interceptor, &report(ports), first);
            let news = open.has_changed().unwrap();
            (open.borrow_and_update().get(&interceptor).cloned(), news)
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
            "no news twice"
        );
        assert_eq!(after(Some(&[]), false), (Some(BTreeSet::new()), true));
        assert_eq!(
            after(None, true),
            (None, true),
            "one that has restarted and tells nothing"
        );
    }

    #[test]
    fn one_that_is_gone_has_none() {
        let listeners = Listeners::default();
        let interceptor: Interceptor = "10.0.0.1:9090".parse().unwrap();
        listeners.observe(&interceptor, &report(Some(&[20_000])), true);
        listeners.forget(&interceptor);
        assert!(listeners.subscribe().borrow().is_empty());
    }
}
