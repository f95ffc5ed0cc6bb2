//! The scaler's own dealings with a real API server, with no more rights than they need.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use keda_http_e2e::control_plane::ControlPlane;
use keda_http_e2e::wait;
use keda_http_runtime::readiness::Readiness;
use keda_http_scaler::config::{AdminService, ControllersConfig};
use keda_http_scaler::interceptors::discovery::{self, Discovery};
use keda_http_scaler::interceptors::slices::Pod;
use keda_http_scaler::leader::{self, LeaseCandidate};
use keda_http_scaler::metrics::Metrics;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::task::AbortOnDropHandle;

const LIMIT: Duration = Duration::from_secs(60);
const LEASE: Duration = Duration::from_secs(3);

/// A client of the ServiceAccount `scaler` in this namespace.
async fn service_account(control_plane: &ControlPlane, namespace: &str) -> Client {
    let kubeconfig = Kubeconfig::read_from(control_plane.kubeconfig()).unwrap();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .unwrap();
    config.auth_info.impersonate = Some(format!("system:serviceaccount:{namespace}:scaler"));
    Client::try_from(config).unwrap()
}

/// Gives the ServiceAccount `scaler` of this namespace these rights in it.
async fn allow(control_plane: &ControlPlane, namespace: &str, group: &str, resource: &str, verbs: &str) {
    control_plane
        .apply(&format!(
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {{name: {resource}, namespace: \
             {namespace}}}\nrules: [{{apiGroups: [{group}], resources: [{resource}], verbs: [{verbs}]}}]\n---\napiVersion: \
             rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {{name: {resource}, namespace: \
             {namespace}}}\nroleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: {resource}}}\nsubjects: [{{kind: \
             ServiceAccount, name: scaler, namespace: {namespace}}}]\n"
        ))
        .await
        .unwrap();
}

struct Replica {
    leading: watch::Receiver<bool>,
    readiness: Readiness,
    release: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Replica {
    fn start(client: Client, namespace: &str, name: &str) -> Self {
        let config = ControllersConfig {
            lease_name: "scaler".to_owned(),
            lease_duration: LEASE,
            replica: name.to_owned(),
            autowire: None,
            cluster_domain: "cluster.local".to_owned(),
        };
        let readiness = Readiness::new();
        let mut candidate = LeaseCandidate::new(client, namespace, &config, readiness.clone(), Metrics::default());
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
            release,
            task,
        }
    }

    async fn leads(&mut self) {
        let leads = timeout(LIMIT, self.leading.wait_for(|leads| *leads)).await;
        leads.unwrap().unwrap();
    }
}

async fn lease(client: &Client, namespace: &str) -> (String, i32) {
    let leases: Api<Lease> = Api::namespaced(client.clone(), namespace);
    let spec = leases.get("scaler").await.unwrap().spec.unwrap();
    (
        spec.holder_identity.unwrap_or_default(),
        spec.lease_transitions.unwrap_or_default(),
    )
}

#[tokio::test]
async fn one_replica_leads_another_follows_when_it_dies_and_at_once_when_it_shuts_down() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let namespace = control_plane.namespace("leader").await.unwrap();
    let client = service_account(&control_plane, &namespace).await;
    let mut one = Replica::start(client.clone(), &namespace, "one");
    let readiness = one.readiness.clone();
    let problems = || async { readiness.report().problems.get(leader::PROBLEM).cloned() };
    let reported = wait::until("the missing rights are not reported", LIMIT, problems).await;
    assert!(reported.unwrap()[0].contains("leases"), "which right is missing");

    allow(
        &control_plane,
        &namespace,
        "coordination.k8s.io",
        "leases",
        "get, create, update",
    )
    .await;
    one.leads().await;
    let (holder, transitions) = lease(&control_plane.client().await.unwrap(), &namespace).await;
    assert!(holder.starts_with("one_") && transitions == 0, "{holder} {transitions}");

    let mut two = Replica::start(client.clone(), &namespace, "two");
    one.task.abort();
    let died = Instant::now();
    two.leads().await;
    let took = died.elapsed();
    assert!(took > LEASE / 2, "the Lease of one had not run out after {took:?}");
    let (holder, transitions) = lease(&client, &namespace).await;
    assert!(holder.starts_with("two_") && transitions == 1, "{holder} {transitions}");

    two.release.send(()).unwrap();
    timeout(LIMIT, two.task).await.unwrap().unwrap();
    assert_eq!(lease(&client, &namespace).await.0, "", "given up");
    let mut three = Replica::start(client.clone(), &namespace, "three");
    let asked = Instant::now();
    three.leads().await;
    assert!(
        asked.elapsed() < LEASE,
        "nobody held it, yet it took {:?}",
        asked.elapsed()
    );
    assert_eq!(lease(&client, &namespace).await.1, 2);
    three.task.abort();
}

/// A slice of the Service `interceptor-admin`; each pod by its number, with its conditions.
fn slice(namespace: &str, name: &str, family: &str, pods: &[(&str, u8, &str)]) -> String {
    let endpoint = |(address, pod, conditions): &(&str, u8, &str)| {
        format!(
            "  - {{addresses: [\"{address}\"], conditions: {{{conditions}}}, targetRef: {{kind: Pod, name: pod-{pod}, \
             namespace: {namespace}, uid: uid-{pod}}}}}\n"
        )
    };
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {name}, namespace: {namespace}, labels: \
         {{kubernetes.io/service-name: interceptor-admin}}}}\naddressType: {family}\nports: [{{name: admin, port: \
         9090}}]\nendpoints:\n{}",
        pods.iter().map(endpoint).collect::<String>()
    )
}

struct Found {
    pods: watch::Receiver<Arc<[Pod]>>,
    readiness: Readiness,
    _task: AbortOnDropHandle<()>,
}

impl Found {
    fn by(client: Client, namespace: &str) -> Self {
        let service = AdminService {
            namespace: namespace.to_owned(),
            service: "interceptor-admin".to_owned(),
            port: 9090,
        };
        let readiness = Readiness::new();
        let discovery = Discovery::new(client, service, readiness.clone());
        Self {
            pods: discovery.pods(),
            readiness,
            _task: AbortOnDropHandle::new(tokio::spawn(discovery.run())),
        }
    }

    /// Waits until the interceptors, and whether they are ready, are these.
    async fn are(&mut self, wanted: &[(&str, bool)]) {
        let wanted: BTreeSet<_> = wanted
            .iter()
            .map(|(name, ready)| ((*name).to_owned(), *ready))
            .collect();
        let known = |pods: &Arc<[Pod]>| {
            let pods = pods.iter().map(|pod| (pod.interceptor.to_string(), pod.ready));
            pods.collect::<BTreeSet<_>>() == wanted
        };
        timeout(LIMIT, self.pods.wait_for(known)).await.unwrap().unwrap();
    }

    /// Waits until a problem with this word is reported, or none for `None`.
    async fn problem(&self, word: Option<&str>) {
        let as_wanted = || async {
            let problems = self.readiness.report().problems.get(discovery::PROBLEM).cloned();
            let reported = problems.map(|problems| problems.concat());
            let matches = match (&reported, word) {
                (Some(reported), Some(word)) => reported.contains(word),
                (reported, word) => reported.is_none() && word.is_none(),
            };
            matches.then_some(())
        };
        let what = format!("problems are not as expected: {word:?}");
        wait::until(&what, LIMIT, as_wanted).await.unwrap();
    }
}

#[tokio::test]
async fn interceptors_are_found_by_their_slices_whatever_state_they_are_in_and_kept_over_an_outage() {
    let control_plane = ControlPlane::start().await.unwrap();
    let namespace = control_plane.namespace("discovery").await.unwrap();
    let client = service_account(&control_plane, &namespace).await;
    let mut found = Found::by(client, &namespace);
    found.problem(Some("cannot list resource \"endpointslices\"")).await;
    allow(
        &control_plane,
        &namespace,
        "discovery.k8s.io",
        "endpointslices",
        "list, watch",
    )
    .await;
    found.problem(Some("have no addresses")).await;

    let (ready, terminating) = ("ready: true", "ready: false, serving: true, terminating: true");
    let v4 = [
        ("10.1.0.1", 1, ready),
        ("10.1.0.2", 2, "ready: false"),
        ("10.1.0.3", 3, terminating),
    ];
    let v6 = [("fd00::1", 1, ready), ("fd00::4", 4, ready)];
    control_plane
        .apply(&slice(&namespace, "v4", "IPv4", &v4))
        .await
        .unwrap();
    control_plane
        .apply(&slice(&namespace, "v6", "IPv6", &v6))
        .await
        .unwrap();
    let all = [
        ("10.1.0.1:9090", true),
        ("10.1.0.2:9090", false),
        ("10.1.0.3:9090", false),
        ("[fd00::4]:9090", true),
    ];
    found.are(&all).await;
    found.problem(None).await;

    control_plane.stop_api_server();
    found.problem(Some("EndpointSlices at")).await;
    found.are(&all).await;
    control_plane.start_api_server().await.unwrap();
    control_plane
        .delete("discovery.k8s.io/v1", "EndpointSlice", &namespace, "v6")
        .await
        .unwrap();
    found.are(&all[..3]).await;
    found.problem(None).await;
}
