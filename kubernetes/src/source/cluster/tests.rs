#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod api_server;
mod fold;
mod outages;

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use super::*;
use crate::endpoints::SERVICE_NAME;
use crate::object::Object;
use crate::source::{Change, Problem};
use crate::wired;
use api_server::ApiServer;

const SOON: Duration = Duration::from_secs(20);

/// As in production, only shorter.
const PACING: Pacing = Pacing {
    page: 2,
    requests: 4,
    answer: Duration::from_millis(500),
    watch: Duration::from_secs(2),
    grace: Duration::from_millis(100),
    first_pause: Duration::from_millis(5),
    longest_pause: Duration::from_millis(40),
    refused_pause: Duration::from_millis(60),
    linger: Duration::from_millis(20),
};

fn everything() -> ClusterSettings {
    ClusterSettings {
        kinds: Kind::ALL.into_iter().collect(),
        own_config_maps: Some(("keda".into(), vec!["listeners".into()])),
        ..ClusterSettings::default()
    }
}

fn route(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "http.keda.sh/v1beta1", "kind": "InterceptorRoute",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {
            "target": {"service": name, "port": 80},
            "rules": [{"hosts": [format!("{name}.test")]}],
            "scalingMetric": {"concurrency": {"targetValue": 1}},
        },
    })
}

fn malformed(namespace: &str, name: &str) -> Value {
    let mut route = route(namespace, name);
    route["spec"]["target"]["port"] = "eighty".into();
    route
}

fn scaled(namespace: &str, name: &str, trigger: &Value) -> Value {
    json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"scaleTargetRef": {"name": name}, "triggers": [trigger]},
    })
}

fn of_cron() -> Value {
    json!({"type": "cron", "metadata": {"desiredReplicas": "1"}})
}

fn of_http() -> Value {
    json!({"type": "external-push", "metadata": {"hosts": "a.test", "scalingMetric": "concurrency"}})
}

fn service(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"namespace": namespace, "name": name, "managedFields": [{"manager": "somebody"}]},
        "spec": {"ports": [{"port": 80}]},
    })
}

fn slice(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4", "endpoints": [],
        "metadata": {"namespace": namespace, "name": name},
    })
}

fn config_map(namespace: &str, name: &str, labelled: bool) -> Value {
    let labels = if labelled {
        json!({"http.keda.sh/response-body": "true"})
    } else {
        json!({})
    };
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"},
        "metadata": {"namespace": namespace, "name": name, "labels": labels},
    })
}

fn told(changes: Vec<Change>) -> Vec<String> {
    let told = changes.into_iter().flat_map(|change| match change {
        Change::Apply(object) => vec![format!("apply {}", object.id())],
        Change::Delete(id) => vec![format!("delete {id}")],
        Change::Reset(_, objects) => {
            let first = objects.iter().map(|object| format!("first {}", object.id()));
            first.collect()
        }
    });
    told.collect()
}

struct Watched {
    server: ApiServer,
    source: Source,
}

impl Watched {
    fn open(server: ApiServer, settings: ClusterSettings) -> Self {
        Self::open_paced(server, settings, PACING)
    }

    fn open_paced(server: ApiServer, settings: ClusterSettings, pacing: Pacing) -> Self {
        let source = open_paced(client_with(server.config()).unwrap(), settings, pacing);
        Self { server, source }
    }

    /// With these objects, everything of them known.
    async fn with(objects: &[Value]) -> (Self, Vec<String>) {
        let server = ApiServer::start().await;
        objects.iter().cloned().for_each(|object| server.apply(object));
        let mut watched = Self::open(server, everything());
        let first = watched.next().await;
        (watched, first)
    }

    async fn next(&mut self) -> Vec<String> {
        let batch = timeout(SOON, self.source.next()).await.expect("a batch in time");
        told(batch.expect("a source that goes on"))
    }

    /// Changes until so many are there, in the order of their names where they come from several watches.
    async fn several(&mut self, count: usize) -> Vec<String> {
        let mut all = Vec::new();
        while all.len() < count {
            all.extend(self.next().await);
        }
        all.sort();
        all
    }

    async fn problems(&mut self, holds: impl Fn(&[Problem]) -> bool) -> Vec<Problem> {
        let mut problems = self.source.problems();
        let last = problems.clone();
        let waiting = timeout(SOON, problems.wait_for(|problems| holds(problems))).await;
        match waiting {
            Ok(problems) => problems.unwrap().clone(),
            Err(_) => panic!("{:?}", last.borrow()),
        }
    }

    async fn fresh(&mut self, current: bool) -> Freshness {
        let mut freshness = self.source.freshness();
        let waiting = freshness.wait_for(|now| now.current == current);
        *timeout(SOON, waiting).await.expect("freshness in time").unwrap()
    }
}

#[tokio::test]
async fn the_initial_state_is_the_routes_and_what_their_namespaces_have() {
    let (watched, first) = Watched::with(&[
        route("shop", "a"),
        route("shop", "b"),
        route("shop", "c"),
        service("shop", "a"),
        service("shop", "b"),
        service("shop", "c"),
        slice("shop", "a-1"),
        config_map("shop", "page", true),
        config_map("shop", "settings", false),
        config_map("keda", "listeners", false),
        config_map("keda", "other", false),
        service("elsewhere", "x"),
        slice("elsewhere", "x-1"),
        scaled("elsewhere", "x", &of_cron()),
    ])
    .await;
    assert_eq!(
        first,
        [
            "first InterceptorRoute shop/a",
            "first InterceptorRoute shop/b",
            "first InterceptorRoute shop/c",
            "first ScaledObject elsewhere/x",
            "first Service shop/a",
            "first Service shop/b",
            "first Service shop/c",
            "first EndpointSlice shop/a-1",
            "first ConfigMap keda/listeners",
            "first ConfigMap shop/page",
        ]
    );
    assert!(watched.source.freshness().borrow().current);
    assert!(watched.source.problems().borrow().is_empty());
}

#[tokio::test]
async fn the_initial_state_comes_in_pieces_that_begin_with_nothing() {
    let server = ApiServer::start().await;
    for number in 0..600 {
        server.apply(route("shop", &format!("r{number}")));
    }
    let mut watched = Watched::open(server, everything());
    let (mut sizes, mut applied) = (Vec::new(), 0);
    while let Some(piece) = timeout(SOON, watched.source.initial()).await.unwrap() {
        let changes = piece.iter().filter(|change| matches!(change, Change::Apply(_)));
        applied += changes.count();
        if sizes.is_empty() {
            assert_eq!(
                told(piece[..Kind::ALL.len()].to_vec()),
                Vec::<String>::new(),
                "empty resets"
            );
        }
        sizes.push(piece.len());
    }
    assert_eq!(applied, 600);
    assert!(sizes.len() > 2 && sizes.iter().all(|size| *size <= 300), "{sizes:?}");
}

#[tokio::test]
async fn changes_are_reported_in_order() {
    let (mut watched, _) = Watched::with(&[route("shop", "a")]).await;
    let server = &watched.server;
    server
        .until("all are watched", |server| server.watching().len() == 7)
        .await;
    server.apply(service("shop", "a"));
    server.delete("services", "shop", "a");
    server.apply(service("shop", "a"));
    server.apply(service("shop", "b"));
    server.delete("services", "shop", "a");
    let mut all = Vec::new();
    while all.len() < 5 {
        all.extend(watched.next().await);
    }
    let (a, b) = ("Service shop/a", "Service shop/b");
    assert_eq!(
        all,
        [
            format!("apply {a}"),
            format!("delete {a}"),
            format!("apply {a}"),
            format!("apply {b}"),
            format!("delete {a}")
        ]
    );
}

#[tokio::test]
async fn the_watches_of_a_namespace_begin_with_its_first_route_and_end_with_its_last() {
    let (mut watched, first) = Watched::with(&[
        service("shop", "a"),
        slice("shop", "a-1"),
        config_map("shop", "page", true),
        scaled("shop", "a", &of_cron()),
    ])
    .await;
    assert_eq!(first, ["first ScaledObject shop/a"], "nothing is routed to");
    let namespaced = |server: &ApiServer| {
        let watching = server.watching();
        watching.keys().filter(|path| path.contains("/shop/")).count()
    };
    watched
        .server
        .until("routes are watched", |server| server.watching().len() == 4)
        .await;
    assert_eq!(namespaced(&watched.server), 0);

    watched.server.apply(scaled("shop", "a", &of_http()));
    let expected = [
        "apply ConfigMap shop/page",
        "apply EndpointSlice shop/a-1",
        "apply ScaledObject shop/a",
        "apply Service shop/a",
    ];
    assert_eq!(watched.several(4).await, expected);
    watched
        .server
        .until("the namespace is watched", |server| namespaced(server) == 3)
        .await;
    watched.server.apply(route("shop", "b"));
    assert_eq!(watched.next().await, ["apply InterceptorRoute shop/b"]);
    assert_eq!(namespaced(&watched.server), 3, "once");

    watched.server.apply(scaled("shop", "a", &of_cron()));
    assert_eq!(watched.next().await, ["apply ScaledObject shop/a"]);
    assert_eq!(namespaced(&watched.server), 3, "another route is left");
    watched.server.delete("interceptorroutes", "shop", "b");
    let expected = [
        "delete ConfigMap shop/page",
        "delete EndpointSlice shop/a-1",
        "delete InterceptorRoute shop/b",
        "delete Service shop/a",
    ];
    assert_eq!(watched.several(4).await, expected);
    watched
        .server
        .until("nothing of it is watched", |server| namespaced(server) == 0)
        .await;
}

#[tokio::test]
async fn the_endpoints_of_a_route_stay_known_while_it_is_replaced() {
    let server = ApiServer::start().await;
    let objects = [route("shop", "a"), service("shop", "a"), slice("shop", "a-1")];
    objects.into_iter().for_each(|object| server.apply(object));
    let patient = Pacing { linger: SOON, ..PACING };
    let mut watched = Watched::open_paced(server, everything(), patient);
    assert_eq!(watched.next().await.len(), 3);
    watched.server.delete("interceptorroutes", "shop", "a");
    assert_eq!(watched.next().await, ["delete InterceptorRoute shop/a"]);
    watched.server.apply(route("shop", "b"));
    assert_eq!(watched.next().await, ["apply InterceptorRoute shop/b"]);
    let mut changed = service("shop", "a");
    changed["spec"]["ports"][0]["port"] = 81.into();
    watched.server.apply(changed);
    assert_eq!(
        watched.next().await,
        ["apply Service shop/a"],
        "by the watch that there was"
    );
    watched.server.delete("interceptorroutes", "shop", "b");
    assert_eq!(
        watched.next().await,
        ["delete InterceptorRoute shop/b"],
        "the time begins anew"
    );
}

#[tokio::test]
async fn a_namespace_is_watched_while_slices_of_autowire_are_left_in_it() {
    let server = ApiServer::start().await;
    let mut ours = slice("shop", "api-autowired");
    ours["metadata"]["labels"] = json!({wired::MANAGED_BY: wired::MANAGER});
    server.apply(ours);
    server.apply(service("shop", "api"));
    server.apply(slice("elsewhere", "x-1"));
    let settings = ClusterSettings {
        autowired: true,
        ..everything()
    };
    let mut watched = Watched::open(server, settings);
    assert_eq!(
        watched.next().await,
        ["first Service shop/api", "first EndpointSlice shop/api-autowired"]
    );
    let namespaced = |server: &ApiServer| server.watching().keys().any(|path| path.contains("/shop/"));
    watched.server.until("the namespace is watched", namespaced).await;
    watched.server.delete("endpointslices", "shop", "api-autowired");
    assert_eq!(
        watched.several(2).await,
        ["delete EndpointSlice shop/api-autowired", "delete Service shop/api"]
    );
    let ended = |server: &ApiServer| !namespaced(server);
    watched.server.until("nothing of it is watched", ended).await;
}

#[tokio::test]
async fn the_slices_of_a_service_are_watched_after_the_last_route_of_their_namespace() {
    let server = ApiServer::start().await;
    server.apply(route("keda", "a"));
    let settings = ClusterSettings {
        kinds: [Kind::InterceptorRoute, Kind::Service].into(),
        slices_of: Some(ServiceKey {
            namespace: "keda".into(),
            name: "admin".into(),
        }),
        ..ClusterSettings::default()
    };
    let mut watched = Watched::open(server, settings);
    assert_eq!(watched.next().await, ["first InterceptorRoute keda/a"]);
    let all = |server: &ApiServer| server.watching().len() == 3;
    watched.server.until("everything is watched", all).await;
    watched.server.apply(service("keda", "a"));
    assert_eq!(watched.next().await, ["apply Service keda/a"]);
    watched.server.delete("interceptorroutes", "keda", "a");
    let expected = ["delete InterceptorRoute keda/a", "delete Service keda/a"];
    assert_eq!(watched.several(2).await, expected);
    let mut slice = slice("keda", "admin-1");
    slice["metadata"]["labels"] = json!({SERVICE_NAME: "admin"});
    watched.server.apply(slice);
    assert_eq!(watched.next().await, ["apply EndpointSlice keda/admin-1"]);
}

#[tokio::test]
async fn only_the_wanted_kinds_are_watched() {
    let server = ApiServer::start().await;
    server.apply(route("shop", "a"));
    server.apply(route("elsewhere", "b"));
    let settings = ClusterSettings {
        watch_namespace: Some("shop".into()),
        kinds: [Kind::InterceptorRoute, Kind::HttpScaledObject].into(),
        ..ClusterSettings::default()
    };
    let mut watched = Watched::open(server, settings);
    assert_eq!(watched.next().await, ["first InterceptorRoute shop/a"]);
    watched
        .server
        .until("both are watched", |server| server.watching().len() == 2)
        .await;
    let plurals: BTreeSet<String> = watched.server.asked().into_iter().collect();
    let wanted = |path: &String| path.contains("/namespaces/shop/") && path.contains("http.keda.sh");
    assert!(plurals.iter().all(wanted), "{plurals:?}");
}

#[tokio::test]
async fn our_own_config_maps_are_watched_by_name_without_any_route() {
    let (mut watched, first) = Watched::with(&[config_map("keda", "listeners", false)]).await;
    assert_eq!(first, ["first ConfigMap keda/listeners"]);
    watched
        .server
        .until("all are watched", |server| server.watching().len() == 4)
        .await;
    watched.server.apply(config_map("keda", "other", false));
    watched.server.apply(config_map("keda", "listeners", false));
    assert_eq!(watched.next().await, ["apply ConfigMap keda/listeners"]);
    watched.server.delete("configmaps", "keda", "listeners");
    assert_eq!(watched.next().await, ["delete ConfigMap keda/listeners"]);
}

#[tokio::test]
async fn a_config_map_of_our_own_with_response_bodies_stays_when_its_namespace_has_no_route_any_more() {
    let (mut watched, first) = Watched::with(&[
        config_map("keda", "listeners", true),
        config_map("keda", "page", true),
        route("keda", "a"),
    ])
    .await;
    assert_eq!(first.len(), 4, "told by both watches: {first:?}");
    watched.server.delete("interceptorroutes", "keda", "a");
    assert_eq!(
        watched.several(2).await,
        ["delete ConfigMap keda/page", "delete InterceptorRoute keda/a"]
    );
    watched.server.apply(config_map("keda", "listeners", true));
    assert_eq!(watched.next().await, ["apply ConfigMap keda/listeners"]);
}

#[tokio::test]
async fn a_malformed_object_keeps_its_last_valid_state_and_affects_no_other() {
    let (mut watched, first) = Watched::with(&[route("shop", "a"), malformed("shop", "b"), route("shop", "c")]).await;
    assert_eq!(
        first,
        ["first InterceptorRoute shop/a", "first InterceptorRoute shop/c"]
    );
    let problems = watched.problems(|problems| problems.len() == 1).await;
    assert_eq!(problems[0].place, "InterceptorRoute shop/b");
    assert!(problems[0].reason.starts_with("spec.target.port: "), "{problems:?}");

    watched.server.apply(malformed("shop", "a"));
    watched.problems(|problems| problems.len() == 2).await;
    watched.server.apply(route("shop", "b"));
    assert_eq!(
        watched.next().await,
        ["apply InterceptorRoute shop/b"],
        "and no delete of a"
    );
    watched.problems(|problems| problems.len() == 1).await;

    watched.server.compact();
    watched.server.apply(route("shop", "d"));
    assert_eq!(
        watched.next().await,
        ["apply InterceptorRoute shop/d"],
        "nor by a new list"
    );
    watched.server.delete("interceptorroutes", "shop", "a");
    assert_eq!(watched.next().await, ["delete InterceptorRoute shop/a"]);
    watched.problems(|problems| problems.is_empty()).await;
}

#[tokio::test]
async fn metadata_of_other_programs_is_dropped() {
    let (mut watched, _) = Watched::with(&[route("shop", "a")]).await;
    watched.server.apply(service("shop", "a"));
    let changes = timeout(SOON, watched.source.next()).await.unwrap().unwrap();
    let [Change::Apply(Object::Service(service))] = &changes[..] else {
        panic!("{changes:?}");
    };
    assert_eq!(service.metadata.managed_fields, None);
}
