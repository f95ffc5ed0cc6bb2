//! The listeners of autowired Services: one for each Service port, on every worker, opened and closed as the scaler's
//! leader publishes them.
//!
//! A listener that closes accepts no new connections. Requests on the connections it has accepted finish, and still
//! belong to the same Service.

use std::collections::BTreeMap;
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
use crate::counters::report::OpenPorts;
use crate::routing::wanted_listeners::WantedListeners;

const PROBLEM: &str = "listeners";
/// Pause before a port that could not be opened is tried again: another process may release it.
const RETRY: Duration = Duration::from_secs(5);

/// A worker's share of a listener.
pub struct ScopedListener {
    pub listener: TcpListener,
    /// The Service whose traffic arrives here.
    pub scope: Scope,
    /// Cancelled to close the listener gracefully: open requests finish.
    pub close: CancellationToken,
    /// Dropped when the socket is closed.
    pub open: TaskTrackerToken,
}

/// Sends listeners to a worker.
pub type ListenerSender = mpsc::UnboundedSender<ScopedListener>;

/// Opens and closes the listeners of all workers.
pub struct ListenerControl {
    listen: Listen,
    wanted: watch::Receiver<Listeners>,
    workers: Vec<ListenerSender>,
    /// Closes all listeners.
    close: CancellationToken,
    open: BTreeMap<u16, Open>,
    open_ports: watch::Sender<OpenPorts>,
    problems: Vec<String>,
    readiness: Readiness,
}

struct Open {
    service: ServiceRef,
    close: CancellationToken,
    /// The sockets of all workers.
    sockets: TaskTracker,
}

impl ListenerControl {
    /// A control with no listener open. `workers` has one sender per worker; `close` closes all listeners.
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
            open_ports: watch::Sender::default(),
            problems: Vec::new(),
            readiness,
        }
    }

    /// The open ports, and their changes.
    pub fn open_ports(&self) -> watch::Receiver<OpenPorts> {
        self.open_ports.subscribe()
    }

    /// Runs until the sender of wanted listeners is dropped.
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

    /// Waits until each unwanted port is closed, so that it can be opened again for another Service.
    async fn close_unwanted(&mut self, wanted: &Listeners) {
        let stays = |port: &u16, open: &Open| wanted.get(port) == Some(&open.service);
        let (open, unwanted) = std::mem::take(&mut self.open)
            .into_iter()
            .partition(|(port, open)| stays(port, open));
        self.open = open;
        self.publish_open_ports();
        let unwanted: BTreeMap<u16, Open> = unwanted;
        for (port, open) in unwanted {
            open.close.cancel();
            open.sockets.close();
            open.sockets.wait().await;
            tracing::info!(port, service = %open.service, "closed the listener of an autowired Service");
        }
    }

    fn open_wanted(&mut self, wanted: &Listeners) {
        let mut problems = Vec::new();
        for (port, service) in wanted {
            if self.open.contains_key(port) {
                continue;
            }
            match self.open(*port, service) {
                Ok(open) => {
                    tracing::info!(port, %service, "opened a listener for an autowired Service");
                    self.open.insert(*port, open);
                }
                Err(error) => problems.push(format!("cannot open port {port} for {service}: {error:#}")),
            }
        }
        for problem in problems.iter().filter(|problem| !self.problems.contains(problem)) {
            tracing::warn!("{problem}");
        }
        self.readiness.set_problems(PROBLEM, problems.clone());
        self.problems = problems;
        self.publish_open_ports();
    }

    fn open(&self, port: u16, service: &ServiceRef) -> anyhow::Result<Open> {
        let (close, sockets) = (self.close.child_token(), TaskTracker::new());
        let scope = Scope::new(service.clone().into());
        let sockets_of_workers = crate::server::sockets::bind_shared(&self.listen, port)?;
        for (listener, worker) in sockets_of_workers.into_iter().zip(&self.workers) {
            let share = ScopedListener {
                listener,
                scope: scope.clone(),
                close: close.clone(),
                open: sockets.token(),
            };
            // The send fails only when a worker has ended, which ends the process.
            let _ = worker.send(share);
        }
        Ok(Open {
            service: service.clone(),
            close,
            sockets,
        })
    }

    fn publish_open_ports(&self) {
        let ports: OpenPorts = self.open.keys().copied().collect();
        self.open_ports.send_if_modified(|published| {
            let changed = *published != ports;
            if changed {
                *published = ports;
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
        let wanted = WantedListeners::in_namespace("keda".into());
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
