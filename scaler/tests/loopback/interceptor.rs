//! An interceptor as the scaler sees one: a real `pending.proto` server that the test drives.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::Stream;
use keda_http_proto::pending::pending_requests_server::{PendingRequests, PendingRequestsServer};
use keda_http_proto::pending::{Listeners, Report, Target, WatchRequest};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

type Messages = mpsc::UnboundedSender<Result<Report, Status>>;

/// The double. Dropping it closes its port and its streams.
pub struct Interceptor {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    _stop: DropGuard,
}

struct State {
    boot: String,
    started: Instant,
    /// How long it has run when the double starts.
    age: Duration,
    targets: BTreeMap<String, Target>,
    streams: Vec<Messages>,
    listeners: Option<Listeners>,
}

#[derive(Clone)]
struct Service(Arc<Mutex<State>>);

impl Interceptor {
    pub fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), "boot-1")
    }

    /// One that has run for hours, so that what it has counted is not of now.
    pub fn start_old() -> Self {
        let interceptor = Self::start();
        interceptor.state.lock().age = Duration::from_secs(3600);
        interceptor
    }

    pub fn start_at(address: SocketAddr, boot: &str) -> Self {
        let state = State {
            boot: boot.to_owned(),
            started: Instant::now(),
            age: Duration::ZERO,
            targets: BTreeMap::new(),
            streams: Vec::new(),
            listeners: None,
        };
        let state = Arc::new(Mutex::new(state));
        let incoming = TcpIncoming::bind(address).unwrap().with_nodelay(Some(true));
        let address = incoming.local_addr().unwrap();
        let stop = CancellationToken::new();
        let server = Server::builder().add_service(PendingRequestsServer::new(Service(state.clone())));
        let closing = (stop.clone(), state.clone());
        tokio::spawn(server.serve_with_incoming_shutdown(incoming, async move {
            closing.0.cancelled().await;
            closing.1.lock().streams.clear();
        }));
        Self {
            address,
            state,
            _stop: stop.drop_guard(),
        }
    }

    /// The target is this now, and all subscribers are told.
    pub fn set(&self, key: &str, arrivals: u64, pending: u64, waiting: u64) {
        self.tell(Target {
            key: key.to_owned(),
            arrivals,
            pending,
            waiting,
            ..Target::default()
        });
    }

    /// The target is this now, with arrivals of each of the last seconds, newest first, for those who subscribe from
    /// now on.
    pub fn set_recent(&self, key: &str, recent_arrivals: Vec<u32>) {
        let arrivals = recent_arrivals.iter().copied().map(u64::from).sum();
        self.tell(Target {
            key: key.to_owned(),
            arrivals,
            recent_arrivals,
            ..Target::default()
        });
    }

    /// Takes the traffic of autowired Services on these ports from now on.
    pub fn open(&self, ports: &[u32]) {
        let mut state = self.state.lock();
        let listeners = Some(Listeners { ports: ports.to_vec() });
        state.listeners.clone_from(&listeners);
        let report = Report {
            listeners,
            ..state.report(Vec::new(), false)
        };
        state.streams.retain(|stream| stream.send(Ok(report.clone())).is_ok());
    }

    fn tell(&self, mut target: Target) {
        let mut state = self.state.lock();
        state.targets.insert(target.key.clone(), target.clone());
        target.recent_arrivals.clear();
        let report = state.report(vec![target], false);
        state.streams.retain(|stream| stream.send(Ok(report.clone())).is_ok());
    }
}

impl State {
    fn report(&self, targets: Vec<Target>, complete: bool) -> Report {
        let uptime_nanos = u64::try_from((self.age + self.started.elapsed()).as_nanos()).unwrap();
        Report {
            boot_id: self.boot.clone(),
            uptime_nanos,
            complete,
            targets,
            removed: Vec::new(),
            listeners: self.listeners.clone().filter(|_| complete),
        }
    }
}

#[tonic::async_trait]
impl PendingRequests for Service {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<Report, Status>> + Send>>;

    async fn watch(&self, _: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut state = self.0.lock();
        sender
            .send(Ok(state.report(state.targets.values().cloned().collect(), true)))
            .unwrap();
        state.streams.push(sender);
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(receiver))))
    }
}
