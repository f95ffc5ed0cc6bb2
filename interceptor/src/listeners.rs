//! The listeners of autowired Services: one for each Service port, on every worker, opened and closed as the scaler's leader
//! writes them down.
//!
//! A listener that closes takes no new connections; those it has taken go on, for the Service that they came through.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;

use keda_http_core::route::scoped::Scope;
use keda_http_kubernetes::listeners::{self, CONFIG_MAP, Listeners};
use keda_http_kubernetes::source::Change;
use keda_http_runtime::readiness::Readiness;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::config::Listen;
use crate::own_config_map::OwnConfigMap;

const PROBLEM: &str = "listeners";

/// What the scaler wants, as it is read. Cheap to clone.
#[derive(Clone)]
pub struct WantedListeners {
    written: OwnConfigMap,
    wanted: watch::Sender<Listeners>,
}

/// A worker's share of a listener.
pub struct ScopedListener {
    /// Its socket.
    pub listener: TcpListener,
    /// Whose traffic it takes.
    pub scope: Scope,
    /// Cancelled when it is to be closed.
    pub close: CancellationToken,
}

/// Where a worker is given listeners.
pub type ListenerSender = mpsc::UnboundedSender<ScopedListener>;

/// The ports that are open now.
pub type OpenPorts = BTreeSet<u16>;

/// Opens and closes.
pub struct ListenerControl {
    listen: Listen,
    wanted: watch::Receiver<Listeners>,
    workers: Vec<ListenerSender>,
    open: BTreeMap<u16, Open>,
    told: watch::Sender<OpenPorts>,
    readiness: Readiness,
}

struct Open {
    scope: Scope,
    #[expect(dead_code, reason = "held for its drop, which closes the listener")]
    close: DropGuard,
}

impl WantedListeners {
    /// Those that are written down in this namespace; nobody else's count.
    pub fn of_namespace(namespace: String) -> Self {
        Self {
            written: OwnConfigMap::new(namespace, CONFIG_MAP),
            wanted: watch::Sender::default(),
        }
    }

    /// Takes a change in; most are about something else.
    pub fn apply(&self, change: &Change) {
        let Some(config_map) = self.written.after(change) else {
            return;
        };
        let (wanted, problems) = config_map.map(listeners::read).unwrap_or_default();
        for problem in problems {
            tracing::warn!("{problem}");
        }
        self.set(wanted);
    }

    fn set(&self, wanted: Listeners) {
        self.wanted.send_if_modified(|now| {
            let changed = *now != wanted;
            if changed {
                *now = wanted;
            }
            changed
        });
    }
}

impl ListenerControl {
    /// Nothing is open yet. `workers` are where each worker takes its share.
    pub fn new(listen: Listen, wanted: &WantedListeners, workers: Vec<ListenerSender>, readiness: Readiness) -> Self {
        Self {
            listen,
            wanted: wanted.wanted.subscribe(),
            workers,
            open: BTreeMap::new(),
            told: watch::Sender::default(),
            readiness,
        }
    }

    /// The ports that are open, and their changes.
    pub fn open_ports(&self) -> watch::Receiver<OpenPorts> {
        self.told.subscribe()
    }

    /// Opens and closes until nobody wants anything any more.
    pub async fn run(mut self) {
        loop {
            let wanted = self.wanted.borrow_and_update().clone();
            self.reconcile(&wanted);
            if self.wanted.changed().await.is_err() {
                return;
            }
        }
    }

    fn reconcile(&mut self, wanted: &Listeners) {
        self.open
            .retain(|port, open| wanted.get(port) == Some(open.scope.service()));
        let mut problems = Vec::new();
        for (port, service) in wanted {
            if self.open.contains_key(port) {
                continue;
            }
            match self.start(*port, Scope::new(service.clone())) {
                Ok(open) => {
                    tracing::info!(port, service = %open.scope, "a listener of an autowired Service is open");
                    self.open.insert(*port, open);
                }
                Err(error) => problems.push(format!("port {port} cannot be opened: {error:#}")),
            }
        }
        for problem in &problems {
            tracing::warn!("{problem}");
        }
        self.readiness.set_problems(PROBLEM, problems);
        let ports: OpenPorts = self.open.keys().copied().collect();
        self.told.send_if_modified(|told| {
            let changed = *told != ports;
            if changed {
                *told = ports;
            }
            changed
        });
    }

    fn start(&self, port: u16, scope: Scope) -> anyhow::Result<Open> {
        let close = CancellationToken::new();
        let sockets = crate::app::bind_shared(&self.listen, port)?;
        for (listener, worker) in sockets.into_iter().zip(&self.workers) {
            let share = ScopedListener {
                listener,
                scope: scope.clone(),
                close: close.clone(),
            };
            // A worker that has ended ends the process.
            let _ = worker.send(share);
        }
        Ok(Open {
            scope,
            close: close.drop_guard(),
        })
    }
}
