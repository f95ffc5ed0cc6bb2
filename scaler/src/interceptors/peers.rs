//! The connection state of each interceptor, for errors, probes and metrics.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use keda_http_runtime::readiness::{PendingTask, Readiness};
use parking_lot::Mutex;

use crate::host_port::HostPort;
use crate::metrics::Metrics;

/// The states of all interceptors; cheap to clone.
#[derive(Clone)]
pub struct Peers {
    states: Arc<Mutex<BTreeMap<HostPort, Peer>>>,
    /// Whether every discovered interceptor has been added.
    listed: Arc<AtomicBool>,
    readiness: Readiness,
    metrics: Metrics,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PeerState {
    /// The first attempt has not ended.
    Connecting,
    /// Its reports arrive.
    Connected,
    /// The reason.
    Unreachable(String),
}

struct Peer {
    state: PeerState,
    /// Held until the first attempt has ended, also with a failure: a lost interceptor must not keep the scaler
    /// unready.
    first_attempt: Option<PendingTask>,
}

impl Peers {
    /// No interceptor is known yet.
    pub fn new(readiness: Readiness, metrics: Metrics) -> Self {
        Self {
            states: Arc::default(),
            listed: Arc::default(),
            readiness,
            metrics,
        }
    }

    pub(crate) fn add(&self, interceptor: &HostPort) {
        // An interceptor that is added later must not make a ready scaler unready.
        let starting = !self.readiness.report().ready;
        let name = format!("first contact with interceptor {interceptor}");
        let first_attempt = starting.then(|| self.readiness.register(&name));
        let peer = Peer {
            state: PeerState::Connecting,
            first_attempt,
        };
        self.states.lock().insert(interceptor.clone(), peer);
        self.publish();
    }

    pub(crate) fn remove(&self, interceptor: &HostPort) {
        self.states.lock().remove(interceptor);
        self.publish();
    }

    /// Returns whether the state changed.
    pub(crate) fn set(&self, interceptor: &HostPort, state: PeerState) -> bool {
        let changed = {
            let mut states = self.states.lock();
            let Some(peer) = states.get_mut(interceptor) else {
                return false;
            };
            peer.first_attempt = None;
            let changed = peer.state != state;
            peer.state = state;
            changed
        };
        if changed {
            self.publish();
        }
        changed
    }

    /// Every discovered interceptor has been added.
    pub(crate) fn set_listed(&self) {
        self.listed.store(true, Ordering::Release);
    }

    /// Whether the set of interceptors is known and empty.
    pub(crate) fn has_none(&self) -> bool {
        self.listed.load(Ordering::Acquire) && self.states.lock().is_empty()
    }

    /// Why there is no data, for the error that KEDA gets.
    pub(crate) fn explain_no_data(&self) -> String {
        let states = self.states.lock();
        if states.is_empty() {
            return "no data: no interceptor is known".to_owned();
        }
        let all = states.iter().map(|(interceptor, peer)| match &peer.state {
            PeerState::Connecting => format!("{interceptor} has not answered yet"),
            PeerState::Connected => format!("{interceptor} is connected, but has not been ready for a whole window"),
            PeerState::Unreachable(reason) => format!("{interceptor} is not reachable ({reason})"),
        });
        let all = all.collect::<Vec<_>>().join("; ");
        match states.values().any(|peer| peer.state == PeerState::Connected) {
            true => format!("no data yet: {all}"),
            false => format!("no data: no interceptor has a usable report: {all}"),
        }
    }

    fn publish(&self) {
        let (total, problems) = {
            let states = self.states.lock();
            let problems = states.iter().filter_map(|(interceptor, peer)| match &peer.state {
                PeerState::Unreachable(reason) => Some(format!("{interceptor}: {reason}")),
                PeerState::Connecting | PeerState::Connected => None,
            });
            (states.len(), problems.collect::<Vec<_>>())
        };
        self.metrics.interceptors(total, problems.len());
        self.readiness.set_problems("interceptors", problems);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_attempt_makes_ready_even_when_it_fails_and_the_explanation_names_who_is_lost() {
        let readiness = Readiness::new();
        let starting = readiness.register("list of interceptors");
        let peers = Peers::new(readiness.clone(), Metrics::default());
        let lost: HostPort = "127.0.0.1:1".parse().unwrap();
        peers.add(&lost);
        drop(starting);
        assert!(!readiness.report().ready);
        assert!(!peers.has_none());

        assert!(peers.set(&lost, PeerState::Unreachable("connection refused".to_owned())));
        assert!(readiness.report().ready);
        assert!(
            peers
                .explain_no_data()
                .contains("127.0.0.1:1 is not reachable (connection refused)"),
            "{}",
            peers.explain_no_data()
        );
        assert_eq!(
            readiness.report().problems["interceptors"],
            ["127.0.0.1:1: connection refused"]
        );

        assert!(peers.set(&lost, PeerState::Connected));
        assert!(!peers.set(&lost, PeerState::Connected), "nothing changed");
        assert!(readiness.report().problems.is_empty());

        peers.add(&"127.0.0.1:2".parse().unwrap());
        assert!(
            readiness.report().ready,
            "one that is added later does not make it unready"
        );
    }

    #[test]
    fn there_are_none_only_once_the_list_has_been_read() {
        let peers = Peers::new(Readiness::new(), Metrics::default());
        assert!(!peers.has_none());
        peers.set_listed();
        assert!(peers.has_none());
        peers.add(&"127.0.0.1:1".parse().unwrap());
        assert!(!peers.has_none());
    }
}
