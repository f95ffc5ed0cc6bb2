//! The listeners of autowired Services: one for each Service port, on every worker, opened and closed as the scaler's leader
//! writes them down.
//!
//! A listener that closes takes no new connections; what is on those it has taken finishes, for the Service that they came
//! through.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::time::Duration;

use keda_http_core::route::ServiceRef;
use keda_http_core::route::scoped::Scope;
use keda_http_kubernetes::listeners::Listeners;
use keda_http_runtime::readiness::Readiness;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::config::Listen;
use crate::routing::wanted_listeners::WantedListeners;

const PROBLEM: &str = "listeners";
/// How long after a port could not be opened it is tried again: who has it may go.
const RETRY: Duration = Duration::from_secs(5);

/// A worker's share of a listener.
pub struct ScopedListener {
    /// Its socket.
    pub listener: TcpListener,
    /// Whose traffic it takes.
    pub scope: Scope,
    /// Cancelled when it is to be closed: what is there finishes, and clients are asked to leave.
    pub close: CancellationToken,
    /// Held as long as the socket is open.
    pub open: TaskTrackerToken,
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
    /// With it all of them close.
    close: CancellationToken,
    open: BTreeMap<u16, Open>,
    told: watch::Sender<OpenPorts>,
    problems: Vec<String>,
    readiness: Readiness,
}

struct Open {
    service: ServiceRef,
    close: CancellationToken,
    /// The shares of all workers.
    sockets: TaskTracker,
}

impl ListenerControl {
    /// Nothing is open yet. `workers` are where each worker takes its share; with `close` all listeners close.
    pub fn new(
        listen: Listen,
        wanted: &WantedListeners,
        workers: Vec<ListenerSender>,
        close: CancellationToken,
        readiness: Readiness,
    ) -> Self {
        Self {
            listen,
            wanted: wanted.subscribe(),
            workers,
            close,
            open: BTreeMap::new(),
            told: watch::Sender::default(),
            problems: Vec::new(),
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
            self.close_unwanted(&wanted).await;
            self.open_wanted(&wanted);
            let changed = if self.problems.is_empty() {
                self.wanted.changed().await
            } else {
                let changed = tokio::time::timeout(RETRY, self.wanted.changed()).await;
                changed.unwrap_or(Ok(()))
            };
            if changed.is_err() {
                return;
            }
        }
    }

    /// A port that is to be another Service's takes nothing more for the former one before it is opened again.
    async fn close_unwanted(&mut self, wanted: &Listeners) {
        let stays = |port: &u16, open: &Open| wanted.get(port) == Some(&open.service);
        let (open, unwanted) = std::mem::take(&mut self.open)
            .into_iter()
            .partition(|(port, open)| stays(port, open));
        self.open = open;
        self.tell_ports();
        let unwanted: BTreeMap<u16, Open> = unwanted;
        for (port, open) in unwanted {
            open.close.cancel();
            open.sockets.close();
            open.sockets.wait().await;
            tracing::info!(port, service = %open.service, "the listener of an autowired Service is closed");
        }
    }

    fn open_wanted(&mut self, wanted: &Listeners) {
        let mut problems = Vec::new();
        for (port, service) in wanted {
            if self.open.contains_key(port) {
                continue;
            }
            match self.start(*port, service) {
                Ok(open) => {
                    tracing::info!(port, %service, "a listener of an autowired Service is open");
                    self.open.insert(*port, open);
                }
                Err(error) => problems.push(format!("port {port} for {service} cannot be opened: {error:#}")),
            }
        }
        for problem in problems.iter().filter(|problem| !self.problems.contains(problem)) {
            tracing::warn!("{problem}");
        }
        self.readiness.set_problems(PROBLEM, problems.clone());
        self.problems = problems;
        self.tell_ports();
    }

    fn start(&self, port: u16, service: &ServiceRef) -> anyhow::Result<Open> {
        let (close, sockets) = (self.close.child_token(), TaskTracker::new());
        let scope = Scope::new(service.clone().into());
        let shares = crate::server::sockets::bind_shared(&self.listen, port)?;
        for (listener, worker) in shares.into_iter().zip(&self.workers) {
            let share = ScopedListener {
                listener,
                scope: scope.clone(),
                close: close.clone(),
                open: sockets.token(),
            };
            // A worker that has ended ends the process.
            let _ = worker.send(share);
        }
        Ok(Open {
            service: service.clone(),
            close,
            sockets,
        })
    }

    fn tell_ports(&self) {
        let ports: OpenPorts = self.open.keys().copied().collect();
        self.told.send_if_modified(|told| {
            let changed = *told != ports;
            if changed {
                *told = ports;
            }
            changed
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::{IpAddr, Ipv4Addr};

    use keda_http_core::route::PortRef;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_port_that_was_taken_is_opened_when_it_is_free() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let listen = Listen {
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            proxy_port: 0,
            admin_port: 0,
            metrics_port: None,
            workers: 1,
        };
        let service = ServiceRef {
            namespace: "shop".into(),
            service: "api".into(),
            port: PortRef::Number(80),
        };
        let wanted = WantedListeners::of_namespace("keda".into());
        wanted.set(Listeners::from([(port, service)]));
        let (worker, mut shares) = mpsc::unbounded_channel();
        let readiness = Readiness::new();
        let close = CancellationToken::new();
        let control = ListenerControl::new(listen, &wanted, vec![worker], close, readiness.clone());
        let mut open = control.open_ports();
        tokio::spawn(control.run());
        while readiness.report().problems.is_empty() {
            tokio::task::yield_now().await;
        }
        let problems = &readiness.report().problems[PROBLEM];
        assert!(problems[0].contains("shop/api:80"), "{problems:?}");
        drop(taken);
        let opened = tokio::time::timeout(RETRY * 2, open.wait_for(|ports| ports.contains(&port)));
        opened.await.unwrap().unwrap();
        assert!(readiness.report().problems.is_empty());
        let share = shares.recv().await.unwrap();
        assert_eq!(share.listener.local_addr().unwrap().port(), port);
    }
}
