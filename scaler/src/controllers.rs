//! What only one replica does, the one that holds the Lease. The data path and KEDA's calls never need it.

pub mod autowire;
pub mod conditions;
pub mod conversion;
pub mod feed;
pub mod http_scaled_object;
pub mod refusal;
pub mod running;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use keda_http_kubernetes::source::Change;
use tokio::sync::{mpsc, watch};

use crate::config::{AdminService, ControllersConfig};
use crate::interceptors::open_ports::OpenListeners;
use crate::interceptors::slices::Pod;

/// What every controller works with. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    /// The way to the API server.
    pub client: kube::Client,
    /// The namespace of the scaler and the interceptors.
    pub namespace: String,
    /// `host:port` at which KEDA reaches the scaler: the `scalerAddress` that triggers are given.
    pub scaler_address: String,
}

/// What controllers are told of the objects: InterceptorRoutes, HTTPScaledObjects, ScaledObjects, the Services of namespaces
/// that have routes and, for autowire, their EndpointSlices.
#[derive(Clone)]
pub enum News {
    /// Objects are new, have changed, or are gone.
    Changed(Arc<[Change]>),
    /// All that was there at the beginning has been told: from now on what is not known does not exist.
    Complete,
}

/// Where a controller hears of objects; it ends when this replica is the leader no longer.
pub type NewsReceiver = mpsc::UnboundedReceiver<News>;

/// What is known of the interceptors: what autowire decides by. Cheap to clone.
#[derive(Clone)]
pub struct DataPath {
    /// The Service by which they are found.
    pub service: AdminService,
    /// Their pods, with addresses and readiness.
    pub pods: watch::Receiver<Arc<[Pod]>>,
    /// The ports on which they take the traffic of autowired Services.
    pub listeners: watch::Receiver<OpenListeners>,
}

type Start = dyn Fn(Context, NewsReceiver) -> BoxFuture<'static, Result<()>> + Send + Sync;

/// One of the leader's jobs. It may be stopped at any await and started again from what stands in the cluster.
#[derive(Clone)]
pub struct Controller {
    /// Its name in logs, problems and metrics.
    pub name: &'static str,
    start: Arc<Start>,
}

/// All of them: each line is one that runs while this replica leads.
pub fn all(config: &ControllersConfig, data_path: Option<&DataPath>) -> Vec<Controller> {
    let domain = config.cluster_domain.clone();
    let mut controllers = vec![
        Controller::new("conversion", conversion::run),
        Controller::new("httpscaledobjects", http_scaled_object::run),
        Controller::new("conditions", move |context, news| {
            conditions::run(context, domain.clone(), news)
        }),
    ];
    if let (Some(config), Some(data_path)) = (config.autowire.clone(), data_path.cloned()) {
        let run = move |context, news| autowire::run(context, config.clone(), data_path.clone(), news);
        controllers.push(Controller::new("autowire", run));
    }
    controllers
}

impl Controller {
    /// `run` ends with an error when it cannot go on, and without one when its news end.
    pub fn new<F>(name: &'static str, run: impl Fn(Context, NewsReceiver) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        Self {
            name,
            start: Arc::new(move |context, news| run(context, news).boxed()),
        }
    }

    /// Runs it until it ends; a panic is an error, so that one controller cannot end the others.
    ///
    /// # Errors
    /// Why it cannot go on.
    pub async fn run(&self, context: Context, news: NewsReceiver) -> Result<()> {
        let running = AssertUnwindSafe((self.start)(context, news)).catch_unwind();
        running.await.unwrap_or_else(|_| Err(anyhow!("it panicked")))
    }
}
