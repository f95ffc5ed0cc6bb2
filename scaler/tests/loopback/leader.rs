//! Candidates for the lead, against an API server that refuses late writes.

use std::time::{Duration, Instant};

use keda_http_runtime::readiness::Readiness;
use keda_http_scaler::config::ControllersConfig;
use keda_http_scaler::leader::{LeaseCandidate, PROBLEM};
use keda_http_scaler::metrics::Metrics;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::api_server::{ApiServer, LEASES};
use crate::keda::{wait_until, within};

/// The shortest there is: a lost leader is followed after this long.
const LEASE: Duration = Duration::from_secs(3);

struct Replica {
    leading: watch::Receiver<bool>,
    readiness: Readiness,
    metrics: Metrics,
    release: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Replica {
    fn start(server: &ApiServer, name: &str) -> Self {
        let config = ControllersConfig {
            lease_name: "scaler".to_owned(),
            lease_duration: LEASE,
            replica: name.to_owned(),
            cluster_domain: "cluster.local".to_owned(),
            autowire: None,
        };
        let (readiness, metrics) = (Readiness::new(), Metrics::default());
        let mut candidate = LeaseCandidate::new(server.client(), "keda", &config, readiness.clone(), metrics.clone());
        let leads = watch::Sender::new(false);
        let leading = leads.subscribe();
        let (release, released) = oneshot::channel();
        let task = tokio::spawn(async move {
            tokio::select! {
                () = candidate.run(&leads) => {}
                Ok(()) = released => candidate.release().await,
            }
        });
        Self {
            leading,
            readiness,
            metrics,
            release: Some(release),
            task,
        }
    }

    async fn leads(&mut self, wanted: bool) {
        within(self.leading.wait_for(|leads| *leads == wanted)).await.unwrap();
    }

    /// As a process that is killed.
    fn die(&self) {
        self.task.abort();
    }

    async fn shut_down(&mut self) {
        self.release.take().unwrap().send(()).unwrap();
        within(&mut self.task).await.unwrap();
    }
}

fn holder(server: &ApiServer) -> String {
    let lease = server.get(LEASES, "scaler").unwrap();
    lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn one_leads_and_when_it_dies_another_follows_but_not_before_its_time_is_up() {
    let server = ApiServer::start(&[LEASES]).await;
    let mut one = Replica::start(&server, "one");
    one.leads(true).await;
    assert!(holder(&server).starts_with("one_"), "{}", holder(&server));
    assert!(one.metrics.encode().contains("scaler_leader 1"));
    let mut two = Replica::start(&server, "two");
    let before = server.get(LEASES, "scaler").unwrap();
    // It is renewed.
    wait_until(
        async || server.get(LEASES, "scaler").unwrap(),
        |lease| lease["spec"]["renewTime"] != before["spec"]["renewTime"],
    )
    .await;
    assert!(!*two.leading.borrow());

    one.die();
    let died = Instant::now();
    two.leads(true).await;
    let took = died.elapsed();
    assert!(took > LEASE / 2 && took < LEASE * 2, "it took {took:?}");
    let lease = server.get(LEASES, "scaler").unwrap();
    assert_eq!(lease["spec"]["leaseTransitions"], 1);
    assert!(holder(&server).starts_with("two_"));
}

#[tokio::test]
async fn a_leader_that_shuts_down_is_followed_at_once() {
    let server = ApiServer::start(&[LEASES]).await;
    let mut one = Replica::start(&server, "one");
    one.leads(true).await;
    let mut two = Replica::start(&server, "two");
    one.shut_down().await;
    let asked = Instant::now();
    two.leads(true).await;
    assert!(asked.elapsed() < LEASE * 2 / 3, "it took {:?}", asked.elapsed());
    assert!(one.metrics.encode().contains("scaler_leader 0"));
}

#[tokio::test]
async fn a_leader_without_an_api_server_stops_leading_before_another_replica_could_and_reports_why() {
    let server = ApiServer::start(&[LEASES]).await;
    let mut one = Replica::start(&server, "one");
    one.leads(true).await;
    server.fail();
    let failed = Instant::now();
    one.leads(false).await;
    assert!(failed.elapsed() < LEASE * 5 / 6, "it took {:?}", failed.elapsed());
    let problems = one.readiness.report().problems;
    assert!(problems[PROBLEM][0].contains("InternalError"), "{problems:?}");
    server.recover();
    one.leads(true).await;
    wait_until(async || one.readiness.report().problems, |problems| problems.is_empty()).await;
}

#[tokio::test]
async fn a_candidate_that_may_not_read_leases_says_so_and_never_leads() {
    let server = ApiServer::start(&[]).await;
    let one = Replica::start(&server, "one");
    let mut refused = Replica::start(&server, "two");
    for replica in [&one, &refused] {
        wait_until(
            async || replica.readiness.report().problems,
            |problems| problems.contains_key(PROBLEM),
        )
        .await;
    }
    assert!(!*refused.leading.borrow_and_update());
}
