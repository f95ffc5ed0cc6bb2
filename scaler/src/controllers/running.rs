//! The controllers while this replica leads: all started together, each started again when it fails, and all stopped
//! before anybody else can lead.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Error, anyhow};
use keda_http_kubernetes::source::Source;
use keda_http_runtime::backoff::Backoff;
use keda_http_runtime::readiness::Readiness;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info, info_span, warn};

use super::feed::{self, feed};
use super::{Context, Controller, News, NewsReceiver};
use crate::metrics::Metrics;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A controller that has run for this long is well again.
const STEADY: Duration = Duration::from_secs(60);

/// Opens the source of the objects that controllers are told of.
pub type OpenSource = Arc<dyn Fn() -> Source + Send + Sync>;

/// The leader's controllers; cheap to clone.
#[derive(Clone)]
pub struct Controllers {
    /// What they work with.
    pub context: Context,
    /// All of them.
    pub list: Arc<[Controller]>,
    /// Where their objects come from.
    pub open: OpenSource,
    /// Where problems are told.
    pub readiness: Readiness,
    /// The instruments.
    pub metrics: Metrics,
}

impl Controllers {
    /// Runs all of them whenever and as long as this replica leads, until `stop`. When this returns none of them runs.
    pub async fn run_all(self, mut leading: watch::Receiver<bool>, stop: CancellationToken) {
        while let Some(true) = stop.run_until_cancelled(until(&mut leading, true)).await {
            let mut tasks = self.start();
            stop.run_until_cancelled(until(&mut leading, false)).await;
            tasks.shutdown().await;
            self.clear_problems();
            info!("the controllers have stopped");
        }
    }

    fn start(&self) -> JoinSet<()> {
        info!(controllers = ?self.list.iter().map(|controller| controller.name).collect::<Vec<_>>(), "the controllers start");
        let mut tasks = JoinSet::new();
        if self.list.is_empty() {
            return tasks;
        }
        let mut listeners = Vec::new();
        for controller in self.list.iter().cloned() {
            let (listener, news) = mpsc::unbounded_channel();
            listeners.push(listener);
            let span = info_span!("controller", name = controller.name);
            tasks.spawn(self.clone().supervise(controller, news).instrument(span));
        }
        tasks.spawn(feed((self.open)(), listeners, self.readiness.clone()));
        tasks
    }

    /// Runs a controller, again and again. From the second time on it has a feed of its own, because it needs to be told
    /// of everything, and the others do not.
    async fn supervise(self, controller: Controller, news: NewsReceiver) {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let started = Instant::now();
        let mut ended = controller.run(self.context.clone(), news).await;
        let mut lasted = started.elapsed();
        loop {
            let error = ended.err().unwrap_or_else(|| anyhow!("its objects are no longer told"));
            self.failed(&controller, &error);
            if lasted >= STEADY {
                backoff.reset();
            }
            sleep(backoff.jittered()).await;
            let started = Instant::now();
            ended = self.run_alone(&controller).await;
            lasted = started.elapsed();
        }
    }

    async fn run_alone(&self, controller: &Controller) -> anyhow::Result<()> {
        let (listener, news): (_, NewsReceiver) = mpsc::unbounded_channel::<News>();
        let running = controller.run(self.context.clone(), news);
        let feeding = feed((self.open)(), vec![listener], self.readiness.clone());
        let well = async {
            sleep(STEADY).await;
            self.readiness.set_problems(&problem(controller), Vec::new());
            std::future::pending().await
        };
        // What has been told already is still worked off when the source ends.
        let feeding = async {
            feeding.await;
            std::future::pending().await
        };
        tokio::select! {
            ended = running => ended,
            ended = feeding => ended,
            ended = well => ended,
        }
    }

    fn failed(&self, controller: &Controller, error: &Error) {
        warn!(
            error = format!("{error:#}"),
            "a controller has failed and is started again"
        );
        self.metrics.controller_failed(controller.name);
        self.readiness
            .set_problems(&problem(controller), vec![format!("{error:#}")]);
    }

    /// What is wrong is now the next leader's to tell.
    fn clear_problems(&self) {
        self.readiness.set_problems(feed::PROBLEM, Vec::new());
        for controller in self.list.iter() {
            self.readiness.set_problems(&problem(controller), Vec::new());
        }
    }
}

/// Under which name `/readyz` tells that a controller has failed.
fn problem(controller: &Controller) -> String {
    format!("controller {}", controller.name)
}

/// Waits until this is so; says `false` when that will never be.
async fn until(leading: &mut watch::Receiver<bool>, wanted: bool) -> bool {
    leading.wait_for(|leads| *leads == wanted).await.is_ok()
}
