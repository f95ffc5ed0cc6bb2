//! Interceptors that are found by the EndpointSlices of their Service.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use keda_http_runtime::readiness::Readiness;
use keda_http_scaler::config::AdminService;
use keda_http_scaler::interceptors::Interceptors;
use keda_http_scaler::interceptors::discovery::{Discovery, PROBLEM};
use keda_http_scaler::interceptors::slices::Pod;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::api_server::{ApiServer, SLICES};
use crate::keda::{wait_until, within};

/// A slice of the admin Service: addresses, and whether they are ready or, with `None`, terminating.
pub fn slice(name: &str, port: u16, endpoints: &[(&str, Option<bool>)]) -> Value {
    let endpoint = |(address, ready): &(&str, Option<bool>)| {
        let conditions = json!({"ready": ready.unwrap_or(false), "terminating": ready.is_none()});
        json!({"addresses": [address], "conditions": conditions})
    };
    json!({
        "metadata": {"name": name, "namespace": "keda", "labels": {"kubernetes.io/service-name": "interceptor-admin"}},
        "addressType": "IPv4",
        "ports": [{"name": "admin", "port": port}],
        "endpoints": endpoints.iter().map(endpoint).collect::<Vec<_>>(),
    })
}

struct Running {
    interceptors: watch::Receiver<Interceptors>,
    pods: watch::Receiver<Arc<[Pod]>>,
    readiness: Readiness,
    _task: AbortOnDropHandle<()>,
}

impl Running {
    fn against(server: &ApiServer) -> Self {
        let service = AdminService {
            namespace: "keda".to_owned(),
            service: "interceptor-admin".to_owned(),
            port: 9090,
        };
        let readiness = Readiness::new();
        let discovery = Discovery::new(server.client(), service, readiness.clone());
        Self {
            interceptors: discovery.interceptors(),
            pods: discovery.pods(),
            readiness,
            _task: AbortOnDropHandle::new(tokio::spawn(discovery.run())),
        }
    }

    async fn listed(&mut self, addresses: &[&str]) {
        let addresses = addresses.iter().map(|address| address.parse::<SocketAddr>().unwrap());
        let wanted: BTreeSet<_> = addresses.map(Into::into).collect();
        let are_wanted = |known: &Interceptors| known.as_ref().is_some_and(|known| known.keys().eq(&wanted));
        within(self.interceptors.wait_for(are_wanted)).await.unwrap();
    }

    async fn ready(&mut self, wanted: &[&str]) {
        let ready = |pods: &Arc<[Pod]>| {
            let ready = pods.iter().filter(|pod| pod.ready);
            ready.map(|pod| pod.interceptor.to_string()).collect::<Vec<_>>() == wanted
        };
        within(self.pods.wait_for(ready)).await.unwrap();
        let reached = |known: &Interceptors| {
            let known = known.iter().flatten();
            let reached = known.filter(|(_, ready)| **ready);
            reached.map(|(name, _)| name.to_string()).collect::<Vec<_>>() == wanted
        };
        within(self.interceptors.wait_for(reached)).await.unwrap();
    }

    async fn wait_for_problem(&self, word: &str) {
        let problems = async || {
            self.readiness
                .report()
                .problems
                .get(PROBLEM)
                .cloned()
                .unwrap_or_default()
        };
        wait_until(problems, |problems| {
            problems.iter().any(|problem| problem.contains(word)) || (word.is_empty() && problems.is_empty())
        })
        .await;
    }
}

#[tokio::test]
async fn interceptors_are_known_as_long_as_they_are_listed_and_ready_as_long_as_they_are() {
    let server = ApiServer::start(&[SLICES]).await;
    server.put(
        SLICES,
        slice("one", 9090, &[("10.0.0.1", Some(true)), ("10.0.0.2", Some(false))]),
    );
    let mut found = Running::against(&server);
    assert!(
        found.interceptors.borrow().is_none(),
        "nobody is not the same as not known"
    );
    found.listed(&["10.0.0.1:9090", "10.0.0.2:9090"]).await;
    found.ready(&["10.0.0.1:9090"]).await;

    server.put(SLICES, slice("two", 9191, &[("10.0.0.3", Some(true))]));
    found.listed(&["10.0.0.1:9090", "10.0.0.2:9090", "10.0.0.3:9191"]).await;
    server.put(
        SLICES,
        slice("one", 9090, &[("10.0.0.1", None), ("10.0.0.2", Some(true))]),
    );
    found.ready(&["10.0.0.2:9090", "10.0.0.3:9191"]).await;
    found.listed(&["10.0.0.1:9090", "10.0.0.2:9090", "10.0.0.3:9191"]).await;
    server.delete(SLICES, "one");
    found.listed(&["10.0.0.3:9191"]).await;
    let asked = server.asked();
    let labelled = |asked: &String| asked.contains("labelSelector=kubernetes.io%2Fservice-name%3Dinterceptor-admin");
    assert!(asked.len() == 2 && asked.iter().all(labelled), "{asked:?}");
}

#[tokio::test]
async fn an_outage_keeps_the_set_is_reported_and_missed_changes_are_found() {
    let server = ApiServer::start(&[SLICES]).await;
    server.put(SLICES, slice("one", 9090, &[("10.0.0.1", Some(true))]));
    let mut found = Running::against(&server);
    found.listed(&["10.0.0.1:9090"]).await;

    server.fail();
    found.wait_for_problem("InternalError").await;
    assert_eq!(found.pods.borrow().len(), 1);
    server.delete(SLICES, "one");
    server.put(SLICES, slice("two", 9090, &[("10.0.0.2", Some(true))]));
    found.listed(&["10.0.0.1:9090"]).await;
    server.recover();
    found.listed(&["10.0.0.2:9090"]).await;
    found.wait_for_problem("").await;
}

#[tokio::test]
async fn lists_that_were_read_are_published_while_the_watch_is_refused() {
    let server = ApiServer::start(&[SLICES]).await;
    server.put(SLICES, slice("one", 9090, &[("10.0.0.1", Some(true))]));
    let mut found = Running::against(&server);
    found.listed(&["10.0.0.1:9090"]).await;

    server.refuse_watches();
    found.wait_for_problem("BadRequest").await;
    server.put(SLICES, slice("two", 9090, &[("10.0.0.2", Some(true))]));
    found.listed(&["10.0.0.1:9090", "10.0.0.2:9090"]).await;
    found.wait_for_problem("BadRequest").await;
    server.delete(SLICES, "one");
    server.delete(SLICES, "two");
    found.listed(&[]).await;
}

#[tokio::test]
async fn a_watch_that_is_too_old_is_begun_anew() {
    let server = ApiServer::start(&[SLICES]).await;
    server.put(SLICES, slice("one", 9090, &[("10.0.0.1", Some(true))]));
    let mut found = Running::against(&server);
    found.listed(&["10.0.0.1:9090"]).await;
    let watching = async || server.asked().len();
    wait_until(watching, |asked| *asked == 2).await;
    server.expire_watches();
    server.put(SLICES, slice("one", 9090, &[("10.0.0.2", Some(true))]));
    found.listed(&["10.0.0.2:9090"]).await;
    assert!(server.asked().len() >= 3, "{:?}", server.asked());
}

#[tokio::test]
async fn a_service_without_addresses_is_reported_by_its_name() {
    let server = ApiServer::start(&[SLICES]).await;
    let mut found = Running::against(&server);
    found.listed(&[]).await;
    found.wait_for_problem("keda/interceptor-admin").await;
    server.put(SLICES, slice("one", 9090, &[("10.0.0.1", Some(false))]));
    found.wait_for_problem("").await;
}

#[tokio::test]
async fn slices_that_cannot_be_read_at_the_start_are_not_taken_for_none() {
    let server = ApiServer::start(&[]).await;
    let found = Running::against(&server);
    found.wait_for_problem("API server, EndpointSlices").await;
    assert!(found.interceptors.borrow().is_none());
}
