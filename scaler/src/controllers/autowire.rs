//! `trafficAutowire`: sends the traffic of Services through the interceptors, and back to the pods when that is not
//! possible.
//!
//! It only writes objects of its own, so the original state can always be restored, even when nothing of it runs any
//! more.
//!
//! # Layout
//!
//! - [`service`]: kind `service`, the EndpointSlices of a Service without a selector. Each other kind of
//!   `trafficAutowire` will get a file of its own beside it, a line in [`rewirers`] and a line in [`unsupported`].
//! - [`unsupported`]: which objects ask for a kind that this version does not rewire.
//! - [`restored`]: the marker that ends autowire for an installation.
//! - [`command`]: autowire by hand, `keda-http-scaler restore` and `keda-http-scaler autowire --dry-run`.

pub mod command;
pub(crate) mod restored;
pub(crate) mod service;
pub(crate) mod unsupported;

use std::sync::Arc;

use anyhow::Result;
use futures_util::future::BoxFuture;
use keda_http_kubernetes::source::Change;
use keda_http_runtime::sleep;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::config::AutowireConfig;
use crate::controllers::context::{Context, InterceptorView, Update, Updates};
use crate::events::{Events, Notice};
use crate::interceptors::open_ports::OpenPortsByInterceptor;
use crate::interceptors::slices::Pod;
use restored::{Mode, Restored};
use service::Services;
use unsupported::UnsupportedKinds;

/// What keeps the objects of one kind of `trafficAutowire` as they should be.
trait Rewirer: Send {
    fn apply(&mut self, changes: &[Change]) -> Impact;

    /// When the passing of time alone makes [`Rewirer::reconcile`] necessary.
    fn deadline(&self) -> Option<Instant>;

    /// Writes what must be written now.
    fn reconcile<'a>(&'a mut self, inputs: &'a Inputs) -> BoxFuture<'a, ReconcileOutcome>;
}

/// What a change means for a rewirer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Impact {
    #[default]
    None,
    /// An object that autowire wrote was changed by another writer.
    OurObjects,
    /// Something that decides what autowire writes.
    Inputs,
}

/// What rewirers decide by, besides the objects.
struct Inputs {
    pods: Arc<[Pod]>,
    open_ports: OpenPortsByInterceptor,
    mode: Mode,
}

struct ReconcileOutcome {
    notices: Vec<Notice>,
    /// Whether there was nothing to write.
    settled: bool,
}

/// The kinds that this version rewires.
fn rewirers(context: &Context, config: &AutowireConfig) -> Vec<Box<dyn Rewirer>> {
    vec![Box::new(Services::new(context, config))]
}

struct AutowireController {
    rewirers: Vec<Box<dyn Rewirer>>,
    unsupported: UnsupportedKinds,
    restored: Restored,
    events: Events,
    interceptors: InterceptorView,
    /// The initial state of all objects is known.
    complete: bool,
    /// Reconcile now.
    due: bool,
    /// Reconcile with the next tick: our objects were changed by others, or a write was just done or failed. So a
    /// conflict with another writer is never faster than the ticks.
    unsettled: bool,
}

/// Runs the controller until its updates end.
///
/// # Errors
/// None: failed writes are logged and repeated.
pub async fn run(
    context: Context,
    config: AutowireConfig,
    interceptors: InterceptorView,
    mut updates: Updates,
) -> Result<()> {
    let mut autowire = AutowireController {
        rewirers: rewirers(&context, &config),
        unsupported: UnsupportedKinds::default(),
        restored: Restored::new(context.client.clone(), &context.namespace, interceptors.service.clone()),
        events: Events::new(context.client.clone()),
        interceptors: interceptors.clone(),
        complete: false,
        due: false,
        unsettled: false,
    };
    let InterceptorView {
        mut pods,
        mut open_ports,
        ..
    } = interceptors;
    let mut ticks = interval(config.sync_period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let deadline = autowire.deadline();
        tokio::select! {
            update = updates.recv() => match update {
                Some(update) => autowire.apply(&update),
                None => return Ok(()),
            },
            Ok(()) = pods.changed() => autowire.due = true,
            Ok(()) = open_ports.changed() => autowire.due = true,
            () = sleep::until(deadline) => autowire.due = true,
            _ = ticks.tick(), if autowire.unsettled => autowire.due = true,
        }
        while let Ok(update) = updates.try_recv() {
            autowire.apply(&update);
        }
        if autowire.complete && std::mem::take(&mut autowire.due) {
            autowire.reconcile().await;
        }
    }
}

impl AutowireController {
    fn apply(&mut self, update: &Update) {
        match update {
            Update::Changed(changes) => {
                for change in changes.iter() {
                    self.due |= self.unsupported.apply(change);
                    self.due |= self.restored.apply(change);
                }
                let impacts = self.rewirers.iter_mut().map(|rewirer| rewirer.apply(changes));
                let impact = impacts.max().unwrap_or_default();
                self.due |= impact == Impact::Inputs;
                self.unsettled |= impact == Impact::OurObjects;
            }
            Update::Complete => {
                self.complete = true;
                self.due = true;
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let deadlines = self.rewirers.iter().filter_map(|rewirer| rewirer.deadline());
        deadlines.chain(self.events.deadline()).min()
    }

    async fn reconcile(&mut self) {
        let mode = self.restored.mode().await;
        self.unsettled = mode.is_none();
        let inputs = Inputs {
            pods: self.interceptors.pods.borrow().clone(),
            open_ports: self.interceptors.open_ports.borrow().clone(),
            // An unverified marker is honoured.
            mode: mode.unwrap_or(Mode::Restored),
        };
        let mut notices: Vec<Notice> = self.unsupported.notices().collect();
        for rewirer in &mut self.rewirers {
            let outcome = rewirer.reconcile(&inputs).await;
            self.unsettled |= !outcome.settled;
            notices.extend(outcome.notices);
        }
        self.events.replace_all(notices).await;
    }
}
