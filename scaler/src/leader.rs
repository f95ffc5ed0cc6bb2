//! Leader election by a Lease, so that the controllers run in one replica at a time.

mod election;

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

use crate::config::ControllersConfig;
use crate::controllers::running::Controllers;
use crate::metrics::Metrics;
use crate::root_cause::root_cause;
use election::Election;

/// The name under which `/readyz` shows problems of the election.
pub const PROBLEM: &str = "leader election";

/// The pause after a failed request.
const RETRY: Duration = Duration::from_secs(1);
/// The longest time for releasing the Lease. If it fails, the other replicas wait until the Lease expires.
const RELEASE_TIMEOUT: Duration = Duration::from_millis(800);

/// This replica as a candidate for the Lease.
pub struct LeaseCandidate {
    leases: Api<Lease>,
    name: String,
    duration: Duration,
    election: Election,
    /// The resource version that was last read or written: the next write is only accepted on top of it.
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

/// Runs the controllers whenever and as long as this replica leads, until `stop`. After they have stopped, the Lease is
/// released.
pub(crate) async fn run_while_leading(
    mut candidate: LeaseCandidate,
    controllers: Controllers,
    stop: CancellationToken,
) {
    let leading = watch::Sender::new(false);
    let work = controllers.run_all(leading.subscribe(), stop);
    tokio::select! {
        () = candidate.run(&leading) => {}
        () = work => {}
    }
    candidate.release().await;
}

impl LeaseCandidate {
    /// A candidate for the Lease in this namespace.
    pub fn new(
        client: kube::Client,
        namespace: &str,
        config: &ControllersConfig,
        readiness: Readiness,
        metrics: Metrics,
    ) -> Self {
        // A restarted replica of the same name is another process, and must not consider itself the holder.
        let identity = format!("{}_{:016x}", config.replica, fastrand::u64(..));
        tracing::info!(
            identity,
            lease = config.lease_name,
            namespace,
            "leader election: candidate started"
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

    /// Acquires the Lease, renews it as long as possible, and tries to acquire it again, for ever. `leading` is whether
    /// this replica leads; it becomes false a third of the lease duration before another replica can take over.
    pub async fn run(&mut self, leading: &watch::Sender<bool>) {
        loop {
            let outcome = self.attempt().await;
            let now = Instant::now();
            let failed = outcome.is_err();
            self.report(outcome.err().map(|error| format!("Lease {}: {error}", self.name)));
            self.publish(leading, now);
            let next = if failed { now + RETRY } else { self.election.next(now) };
            let until = self.election.leads_until().filter(|until| now < *until);
            sleep_until(until.map_or(next, |until| until.min(next))).await;
            self.publish(leading, Instant::now());
        }
    }

    /// Releases the Lease, so that no other replica has to wait until it expires. The controllers must have stopped.
    pub async fn release(&mut self) {
        let Some(spec) = self.election.release(&wall_clock()) else {
            return;
        };
        self.metrics.leads(false);
        match timeout(RELEASE_TIMEOUT, self.write(spec)).await {
            Ok(Ok(_)) => tracing::info!("released the Lease"),
            Ok(Err(error)) => tracing::warn!(
                error = root_cause(&error),
                "cannot release the Lease; other replicas wait until it expires"
            ),
            Err(_) => tracing::warn!("timeout while releasing the Lease; other replicas wait until it expires"),
        }
    }

    /// Acquires or renews the Lease where that is allowed. Two attempts fit between the time of a renewal and the end
    /// of the leadership.
    async fn attempt(&mut self) -> Result<(), LeaseError> {
        let now = Instant::now();
        let limit = now + self.duration / 6;
        let until = self.election.leads_until().filter(|until| now < *until);
        let limit = until.map_or(limit, |until| until.min(limit));
        let outcome = timeout_at(limit, self.acquire_or_renew()).await;
        let outcome = outcome.map_err(|_| LeaseError::NoAnswer).flatten();
        if outcome.is_err() {
            // Whether anything was written is found out by reading the Lease again.
            self.version = None;
        }
        outcome
    }

    async fn acquire_or_renew(&mut self) -> Result<(), LeaseError> {
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

    /// The API server refuses the write when the Lease has changed since it was last read.
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
            let changed = std::mem::replace(before, leads) != leads;
            if changed {
                tracing::info!(leads, "leadership changed");
                self.metrics.leads(leads);
            }
            changed
        });
    }

    fn report(&mut self, problem: Option<String>) {
        if problem == self.problem {
            return;
        }
        if let Some(problem) = &problem {
            tracing::warn!(problem, "cannot acquire or renew the Lease");
        }
        self.readiness.set_problems(PROBLEM, problem.iter().cloned().collect());
        self.problem = problem;
    }
}

fn wall_clock() -> MicroTime {
    MicroTime(Timestamp::now())
}
