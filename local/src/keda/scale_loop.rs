//! The life of one ScaledObject in KEDA.

use std::time::Duration;

use keda_http_runtime::backoff::Backoff;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at, sleep};
use tonic::Status;
use tonic::transport::Channel;

use super::client::{Client, Spec};
use super::decision::{Decision, Situation, decide};
use super::failures::Failures;
use super::hpa::{self, Hpa, Reading};
use super::push::{Push, follow_activity, follow_specs};
use super::{MetricType, Plan};
use crate::output::Output;
use crate::scale::Scale;

pub(super) struct ScaleLoop {
    plan: Plan,
    triggers: Vec<TriggerState>,
    scale: Scale,
    output: Output,
    created: Instant,
    last_active: Option<Instant>,
    failures: u32,
    reports: Failures,
    hpa: Hpa,
    opened: usize,
    polls: u64,
    settled: watch::Sender<bool>,
}

struct TriggerState {
    index: usize,
    metric: MetricType,
    client: Client,
    /// The metrics in the status of the ScaledObject; before they are known, pushes are dropped.
    specs: Vec<Spec>,
}

impl ScaleLoop {
    /// `settled` becomes true when every stream has been open and the first poll is done.
    pub(super) fn new(
        plan: Plan,
        scaler: &Channel,
        scale: Scale,
        output: Output,
        settled: watch::Sender<bool>,
    ) -> Self {
        let triggers = plan.triggers.iter().map(|trigger| TriggerState {
            index: trigger.index,
            metric: trigger.metric,
            client: Client::new(scaler.clone(), &plan, trigger),
            specs: Vec::new(),
        });
        Self {
            triggers: triggers.collect(),
            plan,
            scale,
            output,
            created: Instant::now(),
            last_active: None,
            failures: 0,
            reports: Failures::new(Instant::now()),
            hpa: Hpa::default(),
            opened: 0,
            polls: 0,
            settled,
        }
    }

    /// Reconciles until the scaler answers, then opens the streams and polls, first at once. One thing at a time, as KEDA
    /// holds the object's lock during a poll and during a push.
    pub(super) async fn run(mut self) {
        if let Some(pause) = &self.plan.pause {
            return self.stay_paused(pause.replicas).await;
        }
        self.reconcile().await;
        let (sender, mut pushes) = mpsc::channel(1);
        let _streams = self.open_streams(&sender);
        let mut polls = interval(self.plan.polling_interval);
        polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looks = interval_at(Instant::now() + hpa::PERIOD, hpa::PERIOD);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                Some(push) = pushes.recv() => self.pushed(push),
                _ = polls.tick() => self.poll().await,
                _ = looks.tick() => self.look().await,
            }
            if self.polls > 0 && self.opened >= self.triggers.len() {
                self.settled.send_replace(true);
            }
        }
    }

    /// As KEDA does with its annotations: no polls, no streams, no HPA.
    async fn stay_paused(&self, replicas: Option<u32>) {
        match replicas {
            Some(replicas) => self.set(replicas, "paused by annotation"),
            None => self.print(&format!("paused by annotation at {} replicas", self.scale.replicas())),
        }
        self.settled.send_replace(true);
        std::future::pending::<()>().await;
    }

    fn open_streams(&self, pushes: &mpsc::Sender<Push>) -> JoinSet<()> {
        let mut streams = JoinSet::new();
        for trigger in &self.triggers {
            let (client, index) = (&trigger.client, trigger.index);
            let (pushes, output) = (|| pushes.clone(), || self.output.clone());
            streams.spawn(follow_activity(client.clone(), index, pushes(), output()));
            streams.spawn(follow_specs(client.clone(), index, pushes(), output()));
        }
        streams
    }

    /// Calls GetMetricSpec of every trigger, as KEDA does to build the HPA, and retries as its controller does: after 5 ms,
    /// doubling. Only then the scale loop starts.
    async fn reconcile(&mut self) {
        let mut backoff = Backoff::new(Duration::from_millis(5), Duration::from_secs(30));
        while let Err(status) = self.read_specs().await {
            let pause = backoff.pause();
            if pause > Duration::from_secs(1) {
                self.print(&format!(
                    "GetMetricSpec failed: {:?}: {}; retrying in {} s",
                    status.code(),
                    status.message(),
                    pause.as_secs()
                ));
            }
            sleep(pause).await;
        }
    }

    async fn read_specs(&mut self) -> Result<(), Status> {
        for trigger in &mut self.triggers {
            trigger.specs = trigger.client.specs().await?;
        }
        Ok(())
    }

    fn pushed(&mut self, push: Push) {
        match push {
            Push::Active(index) => {
                let mut known = self.triggers.iter().filter(|trigger| !trigger.specs.is_empty());
                if known.any(|trigger| trigger.index == index) {
                    self.act(true, false, "pushed");
                }
            }
            Push::Opened => self.opened += 1,
            Push::Specs(index, specs) => {
                let trigger = self.triggers.iter_mut().find(|trigger| trigger.index == index);
                if let Some(trigger) = trigger.filter(|_| !specs.is_empty()) {
                    trigger.specs = specs;
                }
            }
        }
    }

    async fn poll(&mut self) {
        let mut active = false;
        let mut failure = None;
        for trigger in &mut self.triggers {
            match trigger.poll().await {
                Ok(now) => active |= now,
                Err(status) => failure = Some(status),
            }
        }
        if let Some(text) = self.reports.after_poll(failure.as_ref(), Instant::now()) {
            self.print(&text);
        }
        let failed = failure.is_some();
        self.polls += 1;
        self.failures = if failed { self.failures.saturating_add(1) } else { 0 };
        self.act(active, failed, "polled");
    }

    fn act(&mut self, active: bool, failed: bool, how: &str) {
        let now = Instant::now();
        let replicas = self.scale.replicas();
        let situation = Situation {
            replicas,
            active,
            failed,
            failures: self.failures,
            last_active: self.last_active,
            created: self.created,
            now,
        };
        match decide(&self.plan, &situation) {
            Decision::Leave => {}
            Decision::Refresh => self.last_active = Some(now),
            Decision::Activate(wanted) => {
                self.last_active = Some(now);
                self.set(wanted, &format!("active, {how}"));
            }
            Decision::Scale(wanted, why) => self.set(wanted, why),
        }
    }

    /// The HPA's look. It has nothing to do with an object without replicas.
    async fn look(&mut self) {
        let replicas = self.scale.replicas();
        if replicas == 0 {
            return;
        }
        let mut readings = Vec::new();
        let mut complete = true;
        for trigger in &mut self.triggers {
            match trigger.read().await {
                Ok(more) => readings.extend(more),
                Err(_) => complete = false, // the next poll reports it
            }
        }
        let bounds = (self.plan.min, self.plan.max);
        let wanted = self.hpa.step(replicas, &readings, complete, bounds, Instant::now());
        self.set(wanted, "HPA");
    }

    fn set(&self, wanted: u32, why: &str) {
        let replicas = self.scale.replicas();
        if wanted != replicas {
            self.print(&format!("{replicas} -> {wanted} replicas ({why})"));
            self.scale.set(wanted);
        }
    }

    fn print(&self, text: &str) {
        self.output.print_line("keda", &format!("{}: {text}", self.plan.key));
    }
}

impl TriggerState {
    /// Whether any of its metrics is active.
    async fn poll(&mut self) -> Result<bool, Status> {
        self.specs = self.client.specs().await?;
        let mut active = false;
        for spec in &self.specs {
            active |= self.client.value(&spec.name).await?.active;
        }
        Ok(active)
    }

    async fn read(&mut self) -> Result<Vec<Reading>, Status> {
        self.specs = self.client.specs().await?;
        let mut readings = Vec::new();
        for spec in &self.specs {
            readings.push(Reading {
                value: self.client.value(&spec.name).await?.value,
                target: spec.target,
                metric: self.metric,
            });
        }
        Ok(readings)
    }
}
