//! Runs the controllers while this replica leads: all are started together, each one that fails is started again, and
//! all are stopped before another replica can lead.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Error, Result, anyhow};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use keda_http_kubernetes::source::Source;
use keda_http_runtime::backoff::Backoff;
use keda_http_runtime::readiness::Readiness;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::context::{Context, Updates};
use super::feed::{self, feed};
use crate::metrics::Metrics;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A controller that has run for this long has recovered.
const STEADY: Duration = Duration::from_secs(60);

type Start = dyn Fn(Context, Updates) -> BoxFuture<'static, Result<()>> + Send + Sync;

/// One of the leader's jobs. It may be stopped at any await and started again: all its state is in the cluster.
#[derive(Clone)]
pub struct Controller {
    /// Its name in logs, problems and metrics.
    pub name: &'static str,
    start: Arc<Start>,
}

/// Opens the source of the objects that controllers follow.
pub type OpenSource = Arc<dyn Fn() -> Source + Send + Sync>;

/// The leader's controllers; cheap to clone.
#[derive(Clone)]
pub struct Controllers {
    /// What each of them is given.
    pub context: Context,
    /// All of them.
    pub list: Arc<[Controller]>,
    /// Opens the source of their objects.
    pub open: OpenSource,
    /// Where failures are shown.
    pub readiness: Readiness,
    /// Counts failures.
    pub metrics: Metrics,
}

impl Controller {
    /// `run` returns an error when it cannot go on, and `Ok` when its updates end.
    pub fn new<F>(name: &'static str, run: impl Fn(Context, Updates) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        Self {
            name,
            start: Arc::new(move |context, updates| run(context, updates).boxed()),
        }
    }

    /// Runs it until it ends. A panic becomes an error, so that one controller cannot end the others.
    ///
    /// # Errors
    /// The controller's own error, or that it panicked.
    pub async fn run(&self, context: Context, updates: Updates) -> Result<()> {
        let running = AssertUnwindSafe((self.start)(context, updates)).catch_unwind();
        running
            .await
            .unwrap_or_else(|_| Err(anyhow!("the controller panicked")))
    }
}

impl Controllers {
    /// Runs all of them whenever and as long as this replica leads, until `stop`. When this returns none of them runs.
    pub async fn run_all(self, mut leading: watch::Receiver<bool>, stop: CancellationToken) {
        while let Some(true) = stop.run_until_cancelled(until(&mut leading, true)).await {
            let mut tasks = self.start();
            stop.run_until_cancelled(until(&mut leading, false)).await;
            tasks.shutdown().await;
            self.clear_problems();
            tracing::info!("controllers stopped");
        }
    }

    fn start(&self) -> JoinSet<()> {
        let names: Vec<_> = self.list.iter().map(|controller| controller.name).collect();
        tracing::info!(controllers = ?names, "starting controllers");
        let mut tasks = JoinSet::new();
        if self.list.is_empty() {
            return tasks;
        }
        let mut receivers = Vec::new();
        for controller in self.list.iter().cloned() {
            let (receiver, updates) = mpsc::unbounded_channel();
            receivers.push(receiver);
            let span = tracing::info_span!("controller", name = controller.name);
            tasks.spawn(self.clone().supervise(controller, updates).instrument(span));
        }
        tasks.spawn(feed((self.open)(), receivers, self.readiness.clone()));
        tasks
    }

    /// Runs a controller, again and again. From the second time on it has a feed of its own, because it needs the whole
    /// initial state again and the others do not.
    async fn supervise(self, controller: Controller, updates: Updates) {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let started = Instant::now();
        let mut ended = controller.run(self.context.clone(), updates).await;
        let mut lasted = started.elapsed();
        loop {
            let error = ended.err().unwrap_or_else(|| anyhow!("its source of objects ended"));
            self.report_failure(&controller, &error);
            if lasted >= STEADY {
                backoff.reset();
            }
            sleep(backoff.jittered()).await;
            let started = Instant::now();
            ended = self.run_alone(&controller).await;
            lasted = started.elapsed();
        }
    }

    async fn run_alone(&self, controller: &Controller) -> Result<()> {
        let (receiver, updates) = mpsc::unbounded_channel();
        let running = controller.run(self.context.clone(), updates);
        let feeding = feed((self.open)(), vec![receiver], self.readiness.clone());
        let recovered = async {
            sleep(STEADY).await;
            self.readiness.set_problems(&problem(controller), Vec::new());
            std::future::pending().await
        };
        // When the source ends, the controller still handles the updates that it has received.
        let feeding = async {
            feeding.await;
            std::future::pending().await
        };
        tokio::select! {
            ended = running => ended,
            ended = feeding => ended,
            ended = recovered => ended,
        }
    }

    fn report_failure(&self, controller: &Controller, error: &Error) {
        let error = format!("{error:#}");
        tracing::warn!(error, "controller failed; restarting it");
        self.metrics.controller_failed(controller.name);
        self.readiness.set_problems(&problem(controller), vec![error]);
    }

    /// Remaining problems are the next leader's to report.
    fn clear_problems(&self) {
        self.readiness.set_problems(feed::PROBLEM, Vec::new());
        for controller in self.list.iter() {
            self.readiness.set_problems(&problem(controller), Vec::new());
        }
    }
}

/// The name under which `/readyz` shows that a controller failed.
fn problem(controller: &Controller) -> String {
    format!("controller {}", controller.name)
}

/// Waits until `leading` has this value; returns `false` when it never will.
async fn until(leading: &mut watch::Receiver<bool>, wanted: bool) -> bool {
    leading.wait_for(|leads| *leads == wanted).await.is_ok()
}
