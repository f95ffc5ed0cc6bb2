//! The whole program, without its process: bind, run, drain.

mod assembly;
mod webhook;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use futures_util::FutureExt;
use keda_http_proto::FILE_DESCRIPTOR_SET;
use keda_http_proto::externalscaler::external_scaler_server::ExternalScalerServer;
use keda_http_runtime::process::{Process, Program};
use keda_http_runtime::readiness::Readiness;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::{Router, TcpIncoming};
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};
use tonic_reflection::server::v1::{ServerReflection, ServerReflectionServer};

use crate::admin;
use crate::config::Config;
use crate::external_scaler::Service;
use crate::leader;
use crate::metrics::{Metrics, SERVICE_NAME};
use assembly::{Observability, Parts};
use webhook::Webhook;

/// A client whose network is gone is detected within fifteen seconds, so that its streams do not stay open for ever.
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// How long calls may take after shutdown began. They take microseconds, so any that remain hang.
const DRAIN: Duration = Duration::from_secs(1);
/// The service names of gRPC health that upstream's probes ask for.
const LIVENESS: &str = "liveness";
const READINESS: &str = "readiness";

/// How help and telemetry name the scaler.
pub const PROGRAM: Program = Program {
    name: "keda-http-scaler",
    service_name: SERVICE_NAME,
    usage: "\
keda-http-scaler: KEDA's external scaler for HTTP.

  keda-http-scaler [flags]                     run the scaler
  keda-http-scaler autowire --dry-run [flags]  print what autowire would write now, and write nothing
  keda-http-scaler restore [flags]             point all autowired Services at the pods of their fallback Services, for
                                               good: before the scaler is removed, while it runs or after it has stopped
",
    makes_spans: false,
};

/// The scaler.
pub struct App;

/// The scaler with its ports bound: connections are accepted as soon as it runs.
pub struct Bound {
    /// The addresses of the ports.
    pub addresses: Addresses,
    incoming: TcpIncoming,
    admin: Option<(TcpListener, axum::Router)>,
    webhook: Option<Webhook>,
    parts: Parts,
    readiness: Readiness,
    metrics: Metrics,
    process: Process,
    reflection: bool,
}

/// The addresses of the ports.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// For KEDA's calls.
    pub keda: SocketAddr,
    /// For metrics and probes, when they are on.
    pub metrics: Option<SocketAddr>,
}

impl App {
    /// Finds the API server where one is needed, reads the manifests where there are any, and binds every port.
    ///
    /// # Errors
    /// When no API server is known, the manifests cannot be read, or a port cannot be bound.
    pub async fn bind(config: Config, process: Process) -> Result<Bound> {
        let observability = Observability::default();
        let parts = Parts::make(&config, &observability).await?;
        let incoming = TcpIncoming::bind(config.listen);
        let incoming = incoming.with_context(|| format!("cannot listen for KEDA on {}", config.listen))?;
        let listener = bind_metrics(config.metrics).await?;
        let webhook = match (config.admission, &parts.context) {
            (Some(admission), Some(context)) => Some(Webhook::bind(admission, context.clone()).await?),
            _ => None,
        };
        let Observability { metrics, readiness } = observability;
        let router = admin::router(&metrics, readiness.clone(), &process);
        Ok(Bound {
            addresses: Addresses {
                keda: incoming.local_addr()?,
                metrics: listener.as_ref().map(TcpListener::local_addr).transpose()?,
            },
            incoming: incoming.with_nodelay(Some(true)),
            admin: listener.map(|listener| (listener, router)),
            webhook,
            parts,
            readiness,
            metrics,
            process,
            reflection: config.reflection,
        })
    }
}

impl Bound {
    /// Serves until `shutdown`: then it is not ready, all streams end with OK, calls that are being answered are
    /// finished, and the last metrics are pushed.
    ///
    /// # Errors
    /// When an essential task failed.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<()> {
        let push = self.process.push.take().map(|push| push.start(self.metrics.pushed()));
        let pushing = push.transpose().context("the thread that pushes metrics")?;
        let stop = self.parts.service.shutdown.clone();
        let _stop_when_dropped = stop.clone().drop_guard();
        let readiness = self.readiness.clone();
        let health = HealthReporter::new();
        let mut tasks = self.start(&health)?;
        let outcome = tokio::select! {
            () = shutdown.cancelled() => Ok(()),
            failure = first_failure(&mut tasks) => Err(failure),
            () = publish_readiness(&health, &readiness) => Ok(()),
        };
        readiness.drain();
        health.set_service_status(READINESS, ServingStatus::NotServing).await;
        stop.cancel();
        if timeout(DRAIN, finish(&mut tasks)).await.is_err() {
            tracing::warn!(
                tasks = tasks.len(),
                "the drain timeout has passed; closing the remaining calls"
            );
        }
        if let Some(pushing) = pushing {
            pushing.finish().await;
        }
        outcome
    }

    fn start(self, health: &HealthReporter) -> Result<JoinSet<Result<()>>> {
        let stop = self.parts.service.shutdown.clone();
        let mut tasks = JoinSet::new();
        let service = self.parts.start(&mut tasks, &self.readiness);
        if let Some(webhook) = self.webhook {
            webhook.start(&mut tasks, &self.readiness, &stop);
        }
        let server = server(service, health.clone(), self.reflection)?;
        let serve = server.serve_with_incoming_shutdown(self.incoming, stop.clone().cancelled_owned());
        tasks.spawn(serve.map(|ended| ended.context("KEDA's port")));
        if let Some((listener, router)) = self.admin {
            let serve = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
            tasks.spawn(serve.into_future().map(|ended| ended.context("the metrics port")));
        }
        let Addresses { keda, metrics } = self.addresses;
        tracing::info!(%keda, metrics = metrics.map(display), "listening");
        Ok(tasks)
    }
}

impl Parts {
    /// Starts the tasks that need no port, and returns the service for KEDA.
    fn start(self, tasks: &mut JoinSet<Result<()>>, readiness: &Readiness) -> Service {
        let stop = self.service.shutdown.clone();
        if let Some(source) = self.source {
            let first = readiness.register("objects");
            let follow = self.service.objects.clone().follow(source, readiness.clone(), first);
            tasks.spawn(stop.clone().run_until_cancelled_owned(follow).map(|ended| match ended {
                None => Ok(()),
                Some(()) => Err(anyhow!("the source of objects has ended")),
            }));
        }
        let listed = readiness.register("list of interceptors");
        let subscriptions = self.subscriptions.run(self.finder.interceptors(), listed, stop.clone());
        tasks.spawn(subscriptions.map(|ended| ended.context("a subscription to an interceptor")));
        tasks.spawn(self.finder.run(stop.clone()).map(Ok));
        if let Some((candidate, controllers)) = self.leadership {
            tasks.spawn(leader::run_while_leading(candidate, controllers, stop).map(Ok));
        }
        self.service
    }
}

async fn bind_metrics(address: Option<SocketAddr>) -> Result<Option<TcpListener>> {
    let Some(address) = address else { return Ok(None) };
    let listener = TcpListener::bind(address).await;
    Ok(Some(
        listener.with_context(|| format!("cannot listen for metrics on {address}"))?,
    ))
}

fn server(service: Service, health: HealthReporter, reflection: bool) -> Result<Router> {
    let mut server = Server::builder()
        .http2_keepalive_interval(Some(PING_EVERY))
        .http2_keepalive_timeout(Some(PING_TIMEOUT));
    let reflection = reflection.then(reflection_service).transpose()?;
    Ok(server
        .add_service(ExternalScalerServer::new(service))
        .add_service(HealthServer::new(HealthService::from_health_reporter(health)))
        .add_optional_service(reflection))
}

fn reflection_service() -> Result<ServerReflectionServer<impl ServerReflection>> {
    let builder = tonic_reflection::server::Builder::configure();
    let builder = builder.register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET);
    Ok(builder
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?)
}

/// Ready once all first attempts to reach an interceptor have ended; only shutdown ends readiness.
async fn publish_readiness(health: &HealthReporter, readiness: &Readiness) {
    health.set_service_status(LIVENESS, ServingStatus::Serving).await;
    health.set_service_status(READINESS, ServingStatus::NotServing).await;
    readiness.ready().await;
    health.set_service_status(READINESS, ServingStatus::Serving).await;
    tracing::info!("ready");
    std::future::pending::<()>().await;
}

/// Every task runs as long as the scaler: the first one that ends has failed.
async fn first_failure(tasks: &mut JoinSet<Result<()>>) -> anyhow::Error {
    match tasks.join_next().await {
        Some(Ok(Err(error))) => error,
        Some(Err(error)) => error.into(),
        Some(Ok(Ok(()))) | None => anyhow!("a task of the scaler has ended"),
    }
}

async fn finish(tasks: &mut JoinSet<Result<()>>) {
    while let Some(ended) = tasks.join_next().await {
        if let Ok(Err(error)) = ended {
            tracing::warn!(%error, "a task failed during shutdown");
        }
    }
}
