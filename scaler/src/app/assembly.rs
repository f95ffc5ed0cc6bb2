//! Creates the parts of the scaler from its settings.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use keda_http_kubernetes::object::Kind;
use keda_http_kubernetes::source::Source;
use keda_http_kubernetes::source::cluster::{self, ClusterSettings};
use keda_http_runtime::readiness::Readiness;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::cluster::Cluster;
use crate::config::{Config, Find, InterceptorsConfig, ObjectsFrom};
use crate::controllers;
use crate::controllers::context::{Context, InterceptorView};
use crate::controllers::feed;
use crate::controllers::running::{Controllers, OpenSource};
use crate::demand::SharedDemand;
use crate::external_scaler::Service;
use crate::interceptors::discovery::Discovery;
use crate::interceptors::open_ports::OpenPorts;
use crate::interceptors::peers::Peers;
use crate::interceptors::queue::QueueClient;
use crate::interceptors::subscription::Subscriptions;
use crate::interceptors::{self, Interceptors};
use crate::leader::LeaseCandidate;
use crate::metrics::Metrics;
use crate::objects::ScalingObjects;

/// All parts of the scaler, before anything runs.
pub(super) struct Parts {
    pub(super) source: Option<Source>,
    pub(super) finder: Finder,
    pub(super) subscriptions: Subscriptions,
    pub(super) service: Service,
    pub(super) leadership: Option<(LeaseCandidate, Controllers)>,
    /// For the controllers and the webhook; `None` without an API server.
    pub(super) context: Option<Context>,
}

/// Finds the interceptors.
pub(super) enum Finder {
    Fixed(watch::Sender<Interceptors>),
    Discovery(Box<Discovery>),
}

/// What all parts report to.
#[derive(Clone, Default)]
pub(super) struct Observability {
    pub(super) metrics: Metrics,
    pub(super) readiness: Readiness,
}

impl Parts {
    /// Finds the API server where one is needed, reads the manifests, and creates the parts.
    pub(super) async fn make(config: &Config, observability: &Observability) -> Result<Self> {
        let cluster = match &config.cluster {
            Some(settings) => Some(Cluster::connect(settings).await.context(INSTEAD)?),
            None => None,
        };
        let cluster = cluster.as_ref();
        let (objects, source) = objects(&config.objects, cluster).await?;
        let finder = Finder::make(&config.interceptors, cluster, observability)?;
        let subscriptions = subscriptions(&config.interceptors, observability)?;
        let interceptors = finder.view(&subscriptions);
        Ok(Self {
            service: service(&subscriptions, objects),
            leadership: leadership(config, cluster, interceptors.as_ref(), observability)?,
            context: cluster.map(|cluster| context(config, cluster)),
            source,
            finder,
            subscriptions,
        })
    }
}

impl Finder {
    fn make(config: &InterceptorsConfig, cluster: Option<&Cluster>, observability: &Observability) -> Result<Self> {
        Ok(match &config.find {
            Find::List(list) => Self::Fixed(interceptors::fixed(list.clone())),
            Find::Service(service) => {
                let client = cluster.context(NO_CLUSTER)?.client.clone();
                let discovery = Discovery::new(client, service.clone(), observability.readiness.clone());
                Self::Discovery(Box::new(discovery))
            }
        })
    }

    /// The set of interceptors, and its changes.
    pub(super) fn interceptors(&self) -> watch::Receiver<Interceptors> {
        match self {
            Self::Fixed(interceptors) => interceptors.subscribe(),
            Self::Discovery(discovery) => discovery.interceptors(),
        }
    }

    fn view(&self, subscriptions: &Subscriptions) -> Option<InterceptorView> {
        match self {
            Self::Fixed(_) => None,
            Self::Discovery(discovery) => Some(InterceptorView {
                service: discovery.service().clone(),
                pods: discovery.pods(),
                open_ports: subscriptions.open_ports.subscribe(),
            }),
        }
    }

    /// Runs the discovery until `stop`.
    pub(super) async fn run(self, stop: CancellationToken) {
        match self {
            // The sender must be kept: dropping it means that discovery has ended.
            Self::Fixed(_interceptors) => stop.cancelled().await,
            Self::Discovery(discovery) => {
                stop.run_until_cancelled(discovery.run()).await;
            }
        }
    }
}

/// Not reached: the settings require an API server wherever a part needs one.
const NO_CLUSTER: &str = "an API server is needed";
const INSTEAD: &str = "without a cluster, set KEDA_HTTP_SCALER_INTERCEPTORS to the admin ports of the interceptors, and \
     KEDA_HTTP_MANIFESTS to a directory of manifests";
async fn objects(from: &ObjectsFrom, cluster: Option<&Cluster>) -> Result<(ScalingObjects, Option<Source>)> {
    Ok(match from {
        ObjectsFrom::Nowhere => (ScalingObjects::none(), None),
        ObjectsFrom::Manifests(directory) => {
            let opened = ScalingObjects::open(directory).await;
            let (objects, source) = opened.context("KEDA_HTTP_MANIFESTS")?;
            (objects, Some(source))
        }
        ObjectsFrom::Cluster => {
            let Cluster {
                client,
                watch_namespace,
                ..
            } = cluster.context(NO_CLUSTER)?.clone();
            let settings = ClusterSettings {
                watch_namespace,
                kinds: [Kind::InterceptorRoute, Kind::HttpScaledObject].into(),
                ..ClusterSettings::default()
            };
            let source = cluster::open(client, settings);
            (ScalingObjects::from_cluster(), Some(source))
        }
    })
}

fn subscriptions(config: &InterceptorsConfig, observability: &Observability) -> Result<Subscriptions> {
    let Observability { metrics, readiness } = observability.clone();
    Ok(Subscriptions {
        demand: SharedDemand::new(config.retention, config.debounce),
        peers: Peers::new(readiness, metrics.clone()),
        open_ports: OpenPorts::default(),
        metrics,
        queue: QueueClient::new(config.poll_every)?,
        poll_every: config.poll_every,
    })
}

fn service(subscriptions: &Subscriptions, objects: ScalingObjects) -> Service {
    Service {
        demand: subscriptions.demand.clone(),
        objects,
        peers: subscriptions.peers.clone(),
        metrics: subscriptions.metrics.clone(),
        shutdown: CancellationToken::new(),
    }
}

fn leadership(
    config: &Config,
    cluster: Option<&Cluster>,
    interceptors: Option<&InterceptorView>,
    observability: &Observability,
) -> Result<Option<(LeaseCandidate, Controllers)>> {
    let Some(settings) = &config.controllers else {
        return Ok(None);
    };
    let cluster = cluster.context(NO_CLUSTER)?;
    let Observability { metrics, readiness } = observability.clone();
    let candidate = LeaseCandidate::new(
        cluster.client.clone(),
        &cluster.namespace,
        settings,
        readiness.clone(),
        metrics.clone(),
    );
    let opened = cluster.clone();
    let autowired = settings.autowire.is_some();
    let open: OpenSource = Arc::new(move || feed::open(&opened, autowired));
    let controllers = Controllers {
        context: context(config, cluster),
        list: controllers::all(settings, interceptors).into(),
        open,
        readiness,
        metrics,
    };
    Ok(Some((candidate, controllers)))
}

fn context(config: &Config, cluster: &Cluster) -> Context {
    let namespace = cluster.namespace.clone();
    let address = config.scaler_address.clone();
    Context {
        client: cluster.client.clone(),
        scaler_address: address.unwrap_or_else(|| format!("keda-add-ons-http-external-scaler.{namespace}:9090")),
        namespace,
    }
}
