//! The whole program, without its process: bind, run, drain.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use keda_http_kubernetes::source::Source;
use keda_http_runtime::process::{Process, Program};
use keda_http_runtime::readiness::{PendingTask, Readiness};
use keda_http_runtime::telemetry::Pushing;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::{self, Admin};
use crate::config::{Config, RouteDefaults, ShutdownConfig};
use crate::counters::pending::PendingRequests;
use crate::counters::report::{self, Reporter};
use crate::proxy::Proxy;
use crate::proxy::routes::Routes;
use crate::proxy::upgrade::Pipes;
use crate::routing::source::Objects;
use crate::routing::staleness::Staleness;
use crate::routing::wanted_listeners::WantedListeners;
use crate::routing::{Ownership, Routing, RoutingSettings};
use crate::server::listeners::{ListenerControl, ScopedListener};
use crate::server::sockets::{bind_shared, bind_tokio};
use crate::server::worker::{Lifetime, Worker};
use crate::telemetry::metrics::{Metrics, SERVICE_NAME};
use crate::telemetry::spans::Spans;
use crate::upstream::Upstream;
use crate::upstream::backends::Backends;
use crate::upstream::endpoint::PoolSettings;
use crate::upstream::request_body::ReadAhead;

/// How help and telemetry name the interceptor.
pub const PROGRAM: Program = Program {
    name: "keda-http-interceptor",
    service_name: SERVICE_NAME,
    usage: "\
keda-http-interceptor: holds HTTP requests while a workload starts from zero, and forwards them.

  keda-http-interceptor [flags]    run the interceptor
",
    makes_spans: true,
};

/// The interceptor.
pub struct App;

/// The interceptor with its ports bound: connections are accepted as soon as it runs.
pub struct Bound {
    /// The addresses of the ports.
    pub addresses: Addresses,
    config: Config,
    objects: Objects,
    initial: PendingTask,
    admin: TcpListener,
    metrics_listener: Option<TcpListener>,
    proxies: Vec<std::net::TcpListener>,
    readiness: Readiness,
    process: Process,
}

/// The addresses of the ports.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// For requests.
    pub proxy: SocketAddr,
    /// For probes, counters and reports.
    pub admin: SocketAddr,
    /// For metrics, when they are on.
    pub metrics: Option<SocketAddr>,
}

impl App {
    /// Opens the source and binds every port.
    ///
    /// # Errors
    /// When the source cannot be read, or a port is taken; the message says which.
    pub async fn bind(config: Config, process: Process) -> Result<Bound> {
        let objects = Objects::open(&config).await?;
        Self::bind_with(objects, config, process)
    }

    /// Binds every port, with objects that are opened already.
    ///
    /// # Errors
    /// When a port is taken; the message says which.
    pub fn bind_with(objects: Objects, config: Config, process: Process) -> Result<Bound> {
        let readiness = Readiness::new();
        let initial = readiness.register("routes");
        let proxies = bind_shared(&config.listen, config.listen.proxy_port)
            .with_context(|| format!("proxy port {}", config.listen.proxy_port))?;
        let admin = bind_tokio(&config.listen, config.listen.admin_port)
            .with_context(|| format!("admin port {}", config.listen.admin_port))?;
        let metrics_listener = match config.listen.metrics_port {
            Some(port) => Some(bind_tokio(&config.listen, port).with_context(|| format!("metrics port {port}"))?),
            None => None,
        };
        let addresses = Addresses {
            proxy: proxies.first().context("no worker")?.local_addr()?,
            admin: admin.local_addr()?,
            metrics: metrics_listener.as_ref().map(TcpListener::local_addr).transpose()?,
        };
        Ok(Bound {
            addresses,
            config,
            objects,
            initial,
            admin,
            metrics_listener,
            proxies,
            readiness,
            process,
        })
    }
}

impl Bound {
    /// Serves until `shutdown`, then drains: not ready, the delay, no new connections, open requests finish or
    /// are cut off at the drain timeout, the last metrics are pushed, and only then the reports end.
    ///
    /// # Errors
    /// When a part that the interceptor cannot work without has ended.
    pub async fn run(self, shutdown: CancellationToken) -> Result<()> {
        let (readiness, limits) = (self.readiness.clone(), self.config.shutdown.clone());
        let Addresses { proxy, admin, metrics } = self.addresses;
        tracing::info!(%proxy, %admin, metrics = metrics.map(display), "listening");
        let lifetime = Lifetime {
            close: CancellationToken::new(),
            cut: CancellationToken::new(),
            ended: CancellationToken::new(),
        };
        // However this function ends, the workers end with it.
        let _workers_end = (lifetime.close.clone().drop_guard(), lifetime.cut.clone().drop_guard());
        let (workers, background, pushing) = self.assemble(&lifetime)?;
        let workers = start_workers(workers)?;
        let ended = CancellationToken::new();
        let mut background = std::pin::pin!(background.run(ended.clone()));
        tokio::select! {
            failed = background.as_mut() => return failed,
            drained = drain(shutdown, &readiness, &limits, lifetime, workers) => drained?,
        }
        // Before the routes end, and their series with them.
        if let Some(pushing) = pushing {
            pushing.finish().await;
        }
        ended.cancel();
        background.await
    }

    /// Makes all parts, with the state that they share.
    fn assemble(mut self, lifetime: &Lifetime) -> Result<(Vec<Worker>, Background, Option<Pushing>)> {
        let pending = PendingRequests::default();
        let metrics = Metrics::new(pending.clone(), self.objects.source.freshness());
        let push = self.process.push.take().map(|push| push.start(metrics.instruments()));
        let pushing = push.transpose().context("the thread that pushes metrics")?;
        let routes = Routes::default();
        let backends = Arc::new(Backends::new(self.pool_settings()));
        let listeners = std::mem::take(&mut self.proxies);
        let settings = self.routing_settings();
        let (shares, scoped): (Vec<_>, Vec<_>) = listeners.iter().map(|_| mpsc::unbounded_channel()).unzip();
        let control = ListenerControl::new(
            self.config.listen.clone(),
            &settings.listeners,
            shares,
            lifetime.close.clone(),
            self.readiness.clone(),
        );
        let (reporter, reports) = report::reporter(pending.clone(), control.open_ports());
        let workers = self.workers(listeners, scoped, &routes, &metrics, lifetime);
        let admin = Admin {
            pending: pending.clone(),
            routes: routes.clone(),
        };
        let background = Background {
            reporter,
            control,
            staleness: Staleness {
                freshness: self.objects.source.freshness(),
                limit: self.config.routing.max_staleness,
                readiness: self.readiness.clone(),
            },
            source: self.objects.source,
            initial: self.initial,
            backends: backends.clone(),
            connections: workers
                .iter()
                .map(|worker| worker.proxy.pipes.tracker.clone())
                .collect(),
            idle_timeout: self.config.upstream.idle_timeout,
            admin: (
                self.admin,
                admin::router(admin, reports, self.readiness.clone(), &self.process),
            ),
            metrics: self
                .metrics_listener
                .map(|listener| (listener, keda_http_runtime::admin::metrics(metrics.registry()))),
            routing: Routing::new(routes, backends, pending, metrics, settings, self.readiness),
        };
        Ok((workers, background, pushing))
    }

    fn routing_settings(&self) -> RoutingSettings {
        RoutingSettings {
            defaults: RouteDefaults {
                timeouts: self.config.timeouts.clone(),
                cold_start: self.config.cold_start,
            },
            ownership: Ownership::new(&self.config.routing, self.objects.own_namespace.clone()),
            listeners: WantedListeners::in_namespace(self.objects.own_namespace.clone()),
        }
    }

    fn pool_settings(&self) -> PoolSettings {
        let workers = self.proxies.len();
        let max_idle = self.config.upstream.max_idle_per_endpoint.div_ceil(workers);
        PoolSettings {
            workers: u16::try_from(workers).unwrap_or(u16::MAX),
            max_idle: u32::try_from(max_idle).unwrap_or(u32::MAX),
        }
    }

    /// One worker for each listener.
    fn workers(
        &self,
        listeners: Vec<std::net::TcpListener>,
        scoped: Vec<mpsc::UnboundedReceiver<ScopedListener>>,
        routes: &Routes,
        metrics: &Metrics,
        lifetime: &Lifetime,
    ) -> Vec<Worker> {
        let spans = self.process.tracing.as_ref().map(Spans::new);
        let proxy = |worker| Proxy {
            routes: routes.clone(),
            upstream: Upstream {
                worker,
                connect_timeout: self.config.timeouts.connect,
                header_names: self.config.responses.header_names,
            },
            cold_start_header: self.config.responses.cold_start_header,
            log_requests: self.config.responses.log_requests,
            metrics: metrics.clone(),
            spans: spans.clone(),
            readiness: self.readiness.clone(),
            pipes: Pipes {
                tracker: TaskTracker::new(),
                cut: lifetime.cut.clone(),
            },
            read_ahead: ReadAhead::default(),
        };
        let worker = |(number, (listener, scoped))| Worker {
            listener,
            scoped,
            proxy: proxy(number),
            head_timeout: self.config.timeouts.request_head,
            header_names: self.config.responses.header_names,
            lifetime: lifetime.clone(),
        };
        listeners.into_iter().zip(scoped).enumerate().map(worker).collect()
    }
}

fn start_workers(workers: Vec<Worker>) -> Result<Vec<std::thread::JoinHandle<()>>> {
    let start = |(number, worker): (usize, Worker)| worker.start(number).context("starting a worker thread");
    workers.into_iter().enumerate().map(start).collect()
}

/// The parts that run outside the workers.
struct Background {
    reporter: Reporter,
    control: ListenerControl,
    staleness: Staleness,
    routing: Routing,
    source: Source,
    initial: PendingTask,
    backends: Arc<Backends>,
    /// The connections of each worker.
    connections: Vec<TaskTracker>,
    idle_timeout: Duration,
    admin: (TcpListener, Router),
    metrics: Option<(TcpListener, Router)>,
}

impl Background {
    /// Runs until `ended`; when one part ends by itself, so does the process: it must not go on half-dead.
    async fn run(self, ended: CancellationToken) -> Result<()> {
        let admin = keda_http_runtime::admin::serve(self.admin.0, self.admin.1, ended.clone());
        let metrics = async {
            match self.metrics {
                Some((listener, router)) => keda_http_runtime::admin::serve(listener, router, ended.clone()).await,
                None => ended.cancelled().await,
            }
        };
        // The streams of reports end with the reporter, so the scalers see a clean end and not a failure.
        let reporter = tokio::spawn(ended.clone().run_until_cancelled_owned(self.reporter.run()));
        let control = tokio::spawn(ended.clone().run_until_cancelled_owned(self.control.run()));
        let routing = tokio::spawn(self.routing.run(self.source, self.initial));
        let failed = tokio::select! {
            () = crate::server::memory::release_after_bursts(self.connections) => "memory is no longer returned to the system",
            () = close_idle(self.backends, self.idle_timeout) => "idle connections are no longer closed",
            ((), ()) = async { tokio::join!(admin, metrics) } => "the admin and metrics ports are closed",
            never = self.staleness.watch() => match never {},
            Err(_) = control => "listeners of autowired Services are no longer opened and closed",
            _ = routing => "the source of objects has ended",
            Err(_) | Ok(Some(())) = reporter => "the reports have ended",
        };
        if ended.is_cancelled() {
            Ok(())
        } else {
            Err(anyhow::anyhow!(failed))
        }
    }
}

async fn close_idle(backends: Arc<Backends>, limit: Duration) {
    let mut interval = tokio::time::interval(limit / 4);
    loop {
        interval.tick().await;
        backends.close_idle(limit);
    }
}

async fn drain(
    shutdown: CancellationToken,
    readiness: &Readiness,
    limits: &ShutdownConfig,
    lifetime: Lifetime,
    workers: Vec<std::thread::JoinHandle<()>>,
) -> Result<()> {
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = lifetime.ended.cancelled() => anyhow::bail!("a worker has ended"),
    }
    let mut workers = tokio::task::spawn_blocking(move || workers.into_iter().all(|worker| worker.join().is_ok()));
    readiness.drain();
    tracing::info!(delay = ?limits.delay, "draining: not ready, still accepting");
    tokio::time::sleep(limits.delay).await;
    lifetime.close.cancel();
    tracing::info!(limit = ?limits.drain, "draining: no new connections");
    let drained = match limits.drain {
        Some(limit) => tokio::time::timeout(limit, &mut workers).await.ok(),
        None => Some((&mut workers).await),
    };
    let well = match drained {
        Some(well) => well,
        None => {
            tracing::warn!("the drain timeout has passed; closing the remaining connections");
            lifetime.cut.cancel();
            workers.await
        }
    };
    anyhow::ensure!(well.context("workers")?, "a worker has panicked");
    tracing::info!("drained");
    Ok(())
}
