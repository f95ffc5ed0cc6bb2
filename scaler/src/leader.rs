//! Which replica is the leader: by a Lease, so that one at a time looks after the objects.

pub mod election;

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use keda_http_runtime::readiness::Readiness;
use kube::Api;
use kube::api::PostParams;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::ControllersConfig;
use crate::controllers::running::Controllers;
use crate::metrics::Metrics;
use crate::root_cause::root_cause;
use election::Election;

/// Under which name `/readyz` tells what is wrong.
pub const PROBLEM: &str = "leader election";

/// How soon a request that has failed is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How long giving the Lease up may take: whoever cannot is waited for by the others.
const RELEASE_TIMEOUT: Duration = Duration::from_millis(800);

/// A candidate.
pub struct Candidate {
    leases: Api<Lease>,
    name: String,
    duration: Duration,
    election: Election,
    /// The Lease as it was last read or written: the next write is only accepted on top of it.
    version: Option<String>,
    readiness: Readiness,
    metrics: Metrics,
    problem: Option<String>,
}

#[derive(Debug, thiserror::Error)]
enum LeaseError {
    #[error("{}", root_cause(.0))]
    Api(#[from] kube::Error),
    #[error("the API server did not answer in time")]
    NoAnswer,
}

/// Runs the controllers whenever and as long as this replica leads, until `stop`. Then the lead is given up, after they
/// have stopped.
pub async fn lead(mut candidate: Candidate, controllers: Controllers, stop: CancellationToken) {
    let leading = watch::Sender::new(false);
    let work = controllers.run_all(leading.subscribe(), stop);
    tokio::select! {
        () = candidate.run(&leading) => {}
        () = work => {}
    }
    candidate.release().await;
}

impl Candidate {
    /// A candidate for the Lease in this namespace.
    pub fn new(
        client: kube::Client,
        namespace: &str,
        config: &ControllersConfig,
        readiness: Readiness,
        metrics: Metrics,
    ) -> Self {
        // A replica that comes again under its name is another process and must not take itself for the holder.
        let identity = format!("{}_{:016x}", config.replica, RandomState::new().hash_one(0u8));
        info!(
            identity,
            lease = config.lease_name,
            namespace,
            "a candidate for the lead"
        );
        Self {
            leases: Api::namespaced(client, namespace),
            name: config.lease_name.clone(),
            duration: config.lease_duration,
            election: Election::new(identity, config.lease_duration),
            version: None,
            readiness,
            metrics,
            problem: None,
        }
    }

    /// Gets the Lease, keeps it as long as it can, and tries to get it again, for ever. `leading` says whether this
    /// replica is the leader; it turns false a third of the duration before anybody else can take over.
    pub async fn run(&mut self, leading: &watch::Sender<bool>) {
        loop {
            let outcome = self.attempt().await;
            let now = Instant::now();
            let failed = outcome.is_err();
            self.tell(outcome.err().map(|error| format!("Lease {}: {error}", self.name)));
            self.publish(leading, now);
            let next = if failed { now + RETRY } else { self.election.next(now) };
            let until = self.election.leads_until().filter(|until| now < *until);
            sleep_until(until.map_or(next, |until| until.min(next))).await;
            self.publish(leading, Instant::now());
        }
    }

    /// Gives the Lease up, so that nobody has to wait until it runs out. Whatever the leader does must have ended.
    pub async fn release(&mut self) {
        let Some(spec) = self.election.release(&wall_clock()) else {
            return;
        };
        self.metrics.leads(false);
        match timeout(RELEASE_TIMEOUT, self.write(spec)).await {
            Ok(Ok(_)) => info!("the lead is given up"),
            Ok(Err(error)) => warn!(
                error = root_cause(&error),
                "the lead could not be given up: others wait until the Lease runs out"
            ),
            Err(_) => warn!("the lead could not be given up in time: others wait until the Lease runs out"),
        }
    }

    /// Looks at the Lease and takes or renews it where that is right. Two attempts fit between a renewal that is due
    /// and the end of the lead.
    async fn attempt(&mut self) -> Result<(), LeaseError> {
        let now = Instant::now();
        let limit = now + self.duration / 6;
        let until = self.election.leads_until().filter(|until| now < *until);
        let limit = until.map_or(limit, |until| until.min(limit));
        let outcome = timeout_at(limit, self.take_or_renew()).await;
        let outcome = outcome.map_err(|_| LeaseError::NoAnswer).flatten();
        if outcome.is_err() {
            // What was written, if anything, is found out by reading it.
            self.version = None;
        }
        outcome
    }

    async fn take_or_renew(&mut self) -> Result<(), LeaseError> {
        if self.version.is_none() || !self.election.leads(Instant::now()) {
            let lease = self.leases.get_opt(&self.name).await?;
            self.version = lease.as_ref().and_then(|lease| lease.metadata.resource_version.clone());
            self.election
                .observe(lease.map(|lease| lease.spec.unwrap_or_default()), Instant::now());
        }
        let asked = Instant::now();
        let Some(spec) = self.election.claim(asked, &wall_clock()) else {
            return Ok(());
        };
        let written = self.write(spec).await?;
        self.version = written.metadata.resource_version;
        self.election.claimed(written.spec.unwrap_or_default(), asked);
        Ok(())
    }

    /// Refused by the API server when the Lease is not as it was last seen.
    async fn write(&self, spec: LeaseSpec) -> kube::Result<Lease> {
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                resource_version: self.version.clone(),
                ..ObjectMeta::default()
            },
            spec: Some(spec),
        };
        let parameters = PostParams::default();
        match self.version {
            Some(_) => self.leases.replace(&self.name, &parameters, &lease).await,
            None => self.leases.create(&parameters, &lease).await,
        }
    }

    fn publish(&self, leading: &watch::Sender<bool>, now: Instant) {
        let leads = self.election.leads(now);
        leading.send_if_modified(|before| {
            let news = std::mem::replace(before, leads) != leads;
            if news {
                info!(leads, "leader election");
                self.metrics.leads(leads);
            }
            news
        });
    }

    fn tell(&mut self, problem: Option<String>) {
        if problem == self.problem {
            return;
        }
        if let Some(problem) = &problem {
            warn!(problem, "the Lease cannot be had");
        }
        self.readiness.set_problems(PROBLEM, problem.iter().cloned().collect());
        self.problem = problem;
    }
}

fn wall_clock() -> MicroTime {
    MicroTime(Timestamp::now())
}
