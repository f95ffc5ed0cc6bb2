//! Autowire: leads the traffic of Services through the data path, and back to the pods when that is better.
//!
//! # Layout
//!
//! - [`service`]: kind `service`, the EndpointSlices of a Service without a selector. Other kinds of `trafficAutowire` get a
//!   file of their own beside it; [`kinds`] tells people which there are not yet.
//! - [`notice`] and [`events`]: what people are told.
//! - [`restored`]: the mark that ends autowire for an installation.
//! - [`command`]: autowire by hand, `keda-http-scaler restore` and `keda-http-scaler autowire --dry-run`.

pub mod command;
pub mod events;
pub mod kinds;
pub mod notice;
pub mod restored;
pub mod service;

use anyhow::Result;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::config::AutowireConfig;
use crate::controllers::context::{Context, InterceptorView, Update, Updates};
use events::Told;
use kinds::Kinds;
use restored::Restored;
use service::Services;
use service::world::Touched;

/// The controller.
struct Autowire {
    services: Services,
    kinds: Kinds,
    told: Told,
    restored: Restored,
    interceptors: InterceptorView,
    /// Everything that was there at the beginning is known.
    complete: bool,
    /// Something must be looked at now.
    due: bool,
    /// Something must be looked at with the next tick: others have changed what is ours, or a write has just been done or
    /// has failed. So a fight with somebody else is no faster than the ticks.
    unsettled: bool,
}

/// Runs the controller until its updates end.
///
/// # Errors
/// None: what cannot be done is told and tried again.
pub async fn run(
    context: Context,
    config: AutowireConfig,
    interceptors: InterceptorView,
    mut updates: Updates,
) -> Result<()> {
    let mut autowire = Autowire {
        services: Services::new(&context, &config),
        kinds: Kinds::default(),
        told: Told::new(context.client.clone()),
        restored: Restored::new(context.client.clone(), interceptors.service.clone()),
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
        let deadline = autowire.services.deadline();
        tokio::select! {
            update = updates.recv() => match update {
                Some(update) => autowire.apply(&update),
                None => return Ok(()),
            },
            Ok(()) = pods.changed() => autowire.due = true,
            Ok(()) = open_ports.changed() => autowire.due = true,
            () = until(deadline) => autowire.due = true,
            _ = ticks.tick(), if autowire.unsettled => autowire.due = true,
        }
        while let Ok(update) = updates.try_recv() {
            autowire.apply(&update);
        }
        if autowire.complete && std::mem::take(&mut autowire.due) {
            autowire.round().await;
        }
    }
}

impl Autowire {
    fn apply(&mut self, update: &Update) {
        match update {
            Update::Changed(changes) => {
                let touched = self.services.apply(changes);
                let mut told = false;
                for change in changes.iter() {
                    told |= self.kinds.apply(change);
                }
                self.due |= touched == Touched::Ground || told;
                self.unsettled |= touched == Touched::Own;
            }
            Update::Complete => {
                self.complete = true;
                self.due = true;
            }
        }
    }

    async fn round(&mut self) {
        let data_path = service::data_path(&self.interceptors.pods.borrow(), &self.interceptors.open_ports.borrow());
        let (mode, again) = self.restored.mode(self.services.restored()).await;
        let round = self.services.round(&data_path, mode).await;
        self.unsettled = again || !round.settled;
        let mut notices = round.notices;
        notices.extend(self.kinds.notices());
        self.told.tell(notices).await;
    }
}

/// Without a time, for ever.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}
