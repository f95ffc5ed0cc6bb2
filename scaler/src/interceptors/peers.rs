//! How each interceptor is doing: what the errors, the probes and the metrics say about them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use keda_http_runtime::readiness::{PendingTask, Readiness};
use parking_lot::Mutex;

use crate::interceptors::Interceptor;
use crate::metrics::Metrics;

/// The states of all interceptors; cheap to clone.
#[derive(Clone)]
pub struct Peers {
    states: Arc<Mutex<BTreeMap<Interceptor, Peer>>>,
    /// Whether everybody who is there has been added.
    listed: Arc<AtomicBool>,
    readiness: Readiness,
    metrics: Metrics,
}

/// How one interceptor is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerState {
    /// The first attempt has not ended.
    Connecting,
    /// Its reports arrive.
    Heard,
    /// It cannot be reached, and why.
    Unreachable(String),
}

struct Peer {
    state: PeerState,
    /// Held until the first attempt has ended, however it ended: a lost interceptor must not keep the scaler from its work.
    first_attempt: Option<PendingTask>,
}

impl Peers {
    /// Nobody is known yet.
    pub fn new(readiness: Readiness, metrics: Metrics) -> Self {
        Self {
            states: Arc::default(),
            listed: Arc::default(),
            readiness,
            metrics,
        }
    }

    /// The interceptor is on the list from now on.
    pub fn add(&self, interceptor: &Interceptor) {
        // One that comes later must not make a ready scaler unready.
        let starting = !self.readiness.report().ready;
        let name = format!("first contact with interceptor {interceptor}");
        let first_attempt = starting.then(|| self.readiness.register(&name));
        let peer = Peer {
            state: PeerState::Connecting,
            first_attempt,
        };
        self.states.lock().insert(interceptor.clone(), peer);
        self.tell();
    }

    /// The interceptor is no longer on the list.
    pub fn remove(&self, interceptor: &Interceptor) {
        self.states.lock().remove(interceptor);
        self.tell();
    }

    /// The interceptor's state is now this. Says whether that is news.
    pub fn set(&self, interceptor: &Interceptor, state: PeerState) -> bool {
        let news = {
            let mut states = self.states.lock();
            let Some(peer) = states.get_mut(interceptor) else {
                return false;
            };
            peer.first_attempt = None;
            let news = peer.state != state;
            peer.state = state;
            news
        };
        if news {
            self.tell();
        }
        news
    }

    /// Everybody who is on the list of interceptors has been added.
    pub fn list_is_read(&self) {
        self.listed.store(true, Ordering::Release);
    }

    /// Whether the list of interceptors has been read and nobody is on it.
    pub fn has_none(&self) -> bool {
        self.listed.load(Ordering::Acquire) && self.states.lock().is_empty()
    }

    /// Why nothing is known, for the error that KEDA is given.
    pub fn explain(&self) -> String {
        let states = self.states.lock();
        if states.is_empty() {
            return "no interceptor is known".to_owned();
        }
        let all = states.iter().map(|(interceptor, peer)| match &peer.state {
            PeerState::Connecting => format!("{interceptor} has not answered yet"),
            PeerState::Heard => format!("{interceptor} is heard, but has not been ready for a whole window"),
            PeerState::Unreachable(reason) => format!("{interceptor} is not reachable ({reason})"),
        });
        let all = all.collect::<Vec<_>>().join("; ");
        match states.values().any(|peer| peer.state == PeerState::Heard) {
            true => format!("too little is known: {all}"),
            false => format!("no interceptor has a usable report: {all}"),
        }
    }

    fn tell(&self) {
        let (total, problems) = {
            let states = self.states.lock();
            let problems = states.iter().filter_map(|(interceptor, peer)| match &peer.state {
                PeerState::Unreachable(reason) => Some(format!("{interceptor}: {reason}")),
                PeerState::Connecting | PeerState::Heard => None,
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
        let lost: Interceptor = "127.0.0.1:1".parse().unwrap();
        peers.add(&lost);
        drop(starting);
        assert!(!readiness.report().ready);
        assert!(!peers.has_none());

        assert!(peers.set(&lost, PeerState::Unreachable("connection refused".to_owned())));
        assert!(readiness.report().ready);
        assert!(
            peers
                .explain()
                .contains("127.0.0.1:1 is not reachable (connection refused)"),
            "{}",
            peers.explain()
        );
        assert_eq!(
            readiness.report().problems["interceptors"],
            ["127.0.0.1:1: connection refused"]
        );

        assert!(peers.set(&lost, PeerState::Heard));
        assert!(!peers.set(&lost, PeerState::Heard), "no news twice");
        assert!(readiness.report().problems.is_empty());

        peers.add(&"127.0.0.1:2".parse().unwrap());
        assert!(
            readiness.report().ready,
            "one that comes later does not make it unready"
        );
    }

    #[test]
    fn there_are_none_only_once_the_list_has_been_read() {
        let peers = Peers::new(Readiness::new(), Metrics::default());
        assert!(!peers.has_none());
        peers.list_is_read();
        assert!(peers.has_none());
        peers.add(&"127.0.0.1:1".parse().unwrap());
        assert!(!peers.has_none());
    }
}
