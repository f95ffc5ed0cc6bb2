//! The life of an autowired Service: wired, switched back to its pods, released.

use std::time::Duration;

use keda_http_kubernetes::object::{Kind, Object};
use keda_http_kubernetes::source::Change;
use serde_json::json;
use tokio::time::{Instant, advance};

use super::cluster::*;
use crate::controllers::autowire::Impact;
use crate::controllers::autowire::restored::Mode;
use crate::controllers::autowire::service::plan::Write;
use crate::controllers::autowire::service::slices::SliceWrite;
use crate::controllers::autowire::service::world::PortAllocations;

const WIRED: &str = "api-keda-http-http-ipv4 wired 10.1.0.1 -> 20000";
const FALLBACK: &str = "api-keda-http-http-ipv4 fallback 10.0.0.1,10.0.0.2 -> 8080";
const RELEASED: &str = "api-keda-http-http-ipv4 released 10.0.0.1,10.0.0.2 -> 8080";

#[tokio::test(start_paused = true)]
async fn a_service_points_to_the_pods_at_once_and_to_the_interceptors_when_they_are_healthy() {
    let mut cluster = Cluster::new();
    let mut planner = planner();
    let first = cluster.plan(&mut planner);
    assert!(
        matches!(first.writes[0], Write::Ports(..)),
        "the port is allocated before anything points to it"
    );
    for write in &first.writes {
        cluster.write(write);
    }
    assert_eq!(cluster.slices(), [FALLBACK]);
    assert!(
        cluster.plan(&mut planner).writes.is_empty(),
        "not before the debounce time"
    );
    assert!(planner.deadline(Instant::now()).unwrap() <= Instant::now() + Duration::from_secs(1));
    let (writes, notices) = cluster.settle(&mut planner).await;
    assert_eq!(cluster.slices(), [WIRED]);
    assert_eq!(writes.len(), 1, "one update of one object");
    let reasons: Vec<_> = notices.iter().map(|notice| (notice.reason, notice.warning)).collect();
    assert_eq!(reasons, [("AutowireWired", false)]);
}

#[tokio::test(start_paused = true)]
async fn a_workload_without_pods_points_to_the_interceptors_at_once() {
    let mut cluster = Cluster::new();
    cluster.apply(&pods("pods-1", "pods", &json!([]), &[]));
    let mut planner = planner();
    for _ in 0..2 {
        let plan = cluster.plan(&mut planner);
        plan.writes.iter().for_each(|write| cluster.write(write));
    }
    assert_eq!(cluster.slices(), [WIRED]);
}

#[tokio::test(start_paused = true)]
async fn unhealthy_interceptors_are_bypassed_until_they_recover() {
    let mut cluster = Cluster::new();
    let mut planner = planner();
    cluster.settle(&mut planner).await;
    cluster.interceptors[0].pod.ready = false;
    assert!(
        cluster.plan(&mut planner).writes.is_empty(),
        "not before the debounce time"
    );
    let (writes, notices) = cluster.settle(&mut planner).await;
    assert_eq!(cluster.slices(), [FALLBACK]);
    assert_eq!((writes.len(), notices[0].reason), (1, "AutowireFallback"));
    cluster.interceptors[0].pod.ready = true;
    let (writes, _) = cluster.settle(&mut planner).await;
    assert_eq!(cluster.slices(), [WIRED]);
    assert_eq!(writes.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_of_several_interceptors_comes_and_goes_at_once() {
    let mut cluster = Cluster::new();
    let mut planner = planner();
    cluster.settle(&mut planner).await;
    let slices_after = |cluster: &mut Cluster, planner: &mut _| {
        for write in &cluster.plan(planner).writes {
            cluster.write(write);
        }
        cluster.slices()
    };
    cluster.interceptors.push(interceptor("10.1.0.2"));
    let both = ["api-keda-http-http-ipv4 wired 10.1.0.1,10.1.0.2 -> 20000"];
    assert_eq!(slices_after(&mut cluster, &mut planner), both);
    cluster.interceptors[1].open = None;
    assert_eq!(
        slices_after(&mut cluster, &mut planner),
        [WIRED],
        "it has restarted and listens nowhere"
    );
    cluster.interceptors[1].pod.ready = false;
    cluster.interceptors[0].open = None;
    assert_eq!(
        slices_after(&mut cluster, &mut planner),
        [WIRED],
        "the last one stays for a moment"
    );
}

#[tokio::test(start_paused = true)]
async fn without_autowire_a_service_is_given_back_and_its_pods_are_followed() {
    type Change = fn(&mut Cluster);
    let ways: [Change; 3] = [
        |cluster| cluster.delete(Kind::ScaledObject, "api"),
        |cluster| cluster.apply(&scaled("api", &json!({"trafficAutowire": "false"}))),
        |cluster| cluster.apply(&scaled("api", &json!({"trafficAutowire": null}))),
    ];
    for way in ways {
        let mut cluster = Cluster::new();
        let mut planner = planner();
        cluster.settle(&mut planner).await;
        way(&mut cluster);
        let (writes, notices) = cluster.settle(&mut planner).await;
        assert_eq!(cluster.slices(), [RELEASED]);
        assert_eq!((writes.len(), notices.len()), (1, 0));
        cluster.apply(&pods(
            "pods-1",
            "pods",
            &json!([{"name": "http", "port": 8080}]),
            &["10.0.0.9"],
        ));
        cluster.settle(&mut planner).await;
        assert_eq!(cluster.slices(), ["api-keda-http-http-ipv4 released 10.0.0.9 -> 8080"]);
        cluster.delete(Kind::EndpointSlice, "pods-1");
        cluster.settle(&mut planner).await;
        assert_eq!(
            cluster.slices(),
            ["api-keda-http-http-ipv4 released  -> 80"],
            "it is remembered that it is ours"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn when_the_fallback_service_is_gone_too_the_slices_go() {
    let mut cluster = Cluster::new();
    let mut planner = planner();
    cluster.settle(&mut planner).await;
    cluster.delete(Kind::ScaledObject, "api");
    cluster.settle(&mut planner).await;
    cluster.delete(Kind::Service, "pods");
    let (writes, _) = cluster.settle(&mut planner).await;
    let [
        Write::Slice(
            _,
            SliceWrite::Remove {
                only_without: Some(key),
                ..
            },
        ),
    ] = writes.as_slice()
    else {
        panic!("{writes:?}");
    };
    assert_eq!(key.name, "pods", "whoever writes asks the API server first");
    assert!(cluster.slices().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_fallback_service_that_is_made_anew_costs_no_request() {
    let mut cluster = Cluster::new();
    let mut planner = planner();
    cluster.settle(&mut planner).await;
    cluster.delete(Kind::Service, "pods");
    let (writes, notices) = cluster.settle(&mut planner).await;
    assert!(writes.is_empty(), "interceptors hold the requests: {writes:?}");
    assert!(
        notices
            .iter()
            .any(|notice| notice.reason == "AutowireNoFallbackService"),
        "{notices:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_service_that_gets_a_selector_is_left_to_kubernetes() {
    let mut cluster = Cluster::new();
    let mut planner = planner();
    cluster.settle(&mut planner).await;
    cluster.apply(&back("api", &json!([{"name": "http", "port": 80}])));
    let (writes, _) = cluster.settle(&mut planner).await;
    assert!(
        writes.is_empty(),
        "until Kubernetes has written what takes their place: {writes:?}"
    );
    cluster.apply(&pods(
        "api-x",
        "api",
        &json!([{"name": "http", "port": 8080}]),
        &["10.0.0.1"],
    ));
    cluster.settle(&mut planner).await;
    assert!(cluster.slices().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_others_change_is_put_right() {
    let mut cluster = Cluster::new();
    let mut planner = planner();
    cluster.settle(&mut planner).await;
    let ours = id(Kind::EndpointSlice, "api-keda-http-http-ipv4");
    let Object::EndpointSlice(good) = cluster.objects[&ours].clone() else {
        panic!()
    };
    let mut world = cluster.world();
    let mut changed = *good.clone();
    changed.endpoints.clear();
    changed.metadata.resource_version = Some("999".into());
    let changed = Object::EndpointSlice(Box::new(changed));
    assert_eq!(world.apply_all(&[Change::Apply(changed.clone())]), Impact::OurObjects);
    assert_eq!(world.apply_all(&[Change::Delete(ours.clone())]), Impact::OurObjects);
    cluster.objects.insert(ours.clone(), changed);
    assert_eq!(cluster.settle(&mut planner).await.0.len(), 1);
    cluster.objects.remove(&ours);
    let first = cluster.plan(&mut planner);
    first.writes.iter().for_each(|write| cluster.write(write));
    assert_eq!(cluster.slices(), [FALLBACK], "at once to the pods, as in the beginning");
    cluster.settle(&mut planner).await;
    assert_eq!(cluster.slices(), [WIRED]);
}

#[tokio::test(start_paused = true)]
async fn an_older_write_of_ours_that_arrives_late_is_no_change() {
    let mut cluster = Cluster::new();
    let mut planner = planner();
    cluster.settle(&mut planner).await;
    let Object::EndpointSlice(now) = cluster.objects[&id(Kind::EndpointSlice, "api-keda-http-http-ipv4")].clone()
    else {
        panic!();
    };
    let mut older = *now.clone();
    older.endpoints.clear();
    older.metadata.resource_version = Some("1".into());
    let mut world = cluster.world();
    assert_eq!(
        world.apply_all(&[Change::Apply(Object::EndpointSlice(Box::new(older)))]),
        Impact::None
    );
    let plan = planner.plan(&world, &cluster.interceptors(), Mode::Autowire, Instant::now());
    assert!(plan.writes.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_happens_where_nothing_is_autowired_is_nothing() {
    let cluster = Cluster::new();
    let mut world = cluster.world();
    let other = elsewhere(pods("x-1", "x", &json!([{"port": 80}]), &["10.0.0.1"]), "other");
    assert_eq!(
        world.apply_all(&[Change::Apply(Object::parse(&other).unwrap().unwrap())]),
        Impact::None
    );
    let here = pods("pods-1", "pods", &json!([{"port": 80}]), &["10.0.0.1"]);
    assert_eq!(
        world.apply_all(&[Change::Apply(Object::parse(&here).unwrap().unwrap())]),
        Impact::Inputs
    );
    assert_eq!(
        world.apply_all(&[Change::Apply(Object::parse(&here).unwrap().unwrap())]),
        Impact::None,
        "twice"
    );
}

#[tokio::test(start_paused = true)]
async fn two_namespaces_with_one_bare_name_have_listeners_of_their_own() {
    let mut cluster = Cluster::new();
    let objects: Vec<Object> = cluster.objects.values().cloned().collect();
    for object in objects {
        let mut document = serde_json::to_value(match &object {
            Object::ScaledObject(object) => serde_json::to_value(object).unwrap(),
            Object::Service(object) => serde_json::to_value(object).unwrap(),
            Object::EndpointSlice(object) => serde_json::to_value(object).unwrap(),
            _ => panic!(),
        });
        document.as_mut().unwrap()["metadata"]["namespace"] = json!("park");
        cluster.apply(&document.unwrap());
    }
    cluster.settle(&mut planner()).await;
    let listeners = cluster.listeners();
    let namespaces: Vec<_> = listeners.values().map(|service| service.namespace.as_str()).collect();
    assert_eq!(namespaces, ["park", "shop"]);
    assert_eq!(
        cluster.slices(),
        [WIRED, "api-keda-http-http-ipv4 wired 10.1.0.1 -> 20001"],
        "park, then shop"
    );
}

#[tokio::test(start_paused = true)]
async fn a_listener_is_taken_back_some_time_after_the_last_use() {
    let mut cluster = Cluster::new();
    let mut planner = planner();
    cluster.settle(&mut planner).await;
    cluster.delete(Kind::ScaledObject, "api");
    cluster.settle(&mut planner).await;
    assert_eq!(cluster.listeners().len(), 1, "nodes may still send there");
    advance(Duration::from_secs(300)).await;
    cluster.settle(&mut planner).await;
    assert!(cluster.listeners().is_empty());
}

#[tokio::test(start_paused = true)]
async fn when_all_ports_are_in_use_a_service_points_to_its_pods() {
    let mut cluster = Cluster::new();
    for index in 0..4 {
        let service = format!("more-{index}");
        cluster.apply(&front(&service, &json!([{"name": "http", "port": 80}])));
        let created = json!({"service": service});
        let mut object = scaled(&service, &created);
        object["metadata"]["creationTimestamp"] = json!("2026-01-02T00:00:00Z");
        cluster.apply(&object);
    }
    let (_, notices) = cluster.settle(&mut planner()).await;
    let exhausted: Vec<_> = notices
        .iter()
        .filter(|notice| notice.reason == "AutowirePortsExhausted")
        .collect();
    assert_eq!(exhausted.len(), 1, "{notices:?}");
    assert!(exhausted[0].message.contains("KEDA_HTTP_AUTOWIRE_PORTS"));
    assert_eq!(
        cluster
            .slices()
            .iter()
            .filter(|slice| slice.contains(" wired "))
            .count(),
        4
    );
    assert_eq!(
        cluster
            .slices()
            .iter()
            .filter(|slice| slice.contains(" fallback "))
            .count(),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn restored_points_everything_to_its_pods_and_nothing_to_the_interceptors() {
    let mut cluster = Cluster::new();
    let mut planner = planner();
    cluster.settle(&mut planner).await;
    cluster.mode = Mode::Restored;
    cluster.apply(&front("new", &json!([{"name": "http", "port": 80}])));
    cluster.apply(&scaled("new", &json!({"service": "new"})));
    let (writes, _) = cluster.settle(&mut planner).await;
    assert_eq!((cluster.slices(), writes.len()), (vec![RELEASED.to_owned()], 1));
}

#[tokio::test(start_paused = true)]
async fn without_the_service_nothing_is_written() {
    let mut cluster = Cluster::new();
    let mut planner = planner();
    cluster.settle(&mut planner).await;
    cluster.delete(Kind::Service, "api");
    let (writes, notices) = cluster.settle(&mut planner).await;
    assert!(writes.is_empty(), "its slices go with it by themselves");
    assert_eq!(notices[0].reason, "AutowireNoService");
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_changes_no_destination_until_the_interceptors_have_reported() {
    let mut cluster = Cluster::new();
    cluster.settle(&mut planner()).await;
    let reported = std::mem::take(&mut cluster.interceptors);
    let mut planner = planner();
    assert!(cluster.plan(&mut planner).writes.is_empty(), "not found yet");
    advance(Duration::from_secs(4)).await;
    assert!(cluster.plan(&mut planner).writes.is_empty());
    cluster.interceptors = reported;
    assert!(cluster.plan(&mut planner).writes.is_empty(), "and there they are");
}

#[tokio::test(start_paused = true)]
async fn after_a_reset_the_owner_of_a_port_is_the_object_of_its_own_namespace() {
    let mut cluster = Cluster::new();
    let mut foreign = elsewhere(scaled("api", &json!({"service": "other"})), "before-shop");
    foreign["metadata"]["uid"] = json!("uid-foreign");
    cluster.apply(&foreign);
    let mut world = cluster.world();
    let scaled = cluster
        .objects
        .values()
        .filter(|object| object.kind() == Kind::ScaledObject);
    world.apply_all(&[Change::Reset(Kind::ScaledObject, scaled.cloned().collect())]);
    let owners = world.wants().into_values().flatten().map(|want| want.owner.uid.clone());
    let owners: Vec<_> = owners.flatten().collect();
    assert_eq!(owners, ["uid-foreign", "uid-api"]);
}

#[tokio::test(start_paused = true)]
async fn ports_are_written_anew_when_their_config_map_was_deleted_while_the_watch_was_away() {
    let mut cluster = Cluster::new();
    let mut planner = planner();
    cluster.settle(&mut planner).await;
    let mut world = cluster.world();
    assert_eq!(
        world.apply_all(&[Change::Reset(Kind::ConfigMap, Vec::new())]),
        Impact::Inputs
    );
    assert_eq!(world.allocations(), &PortAllocations::default());
}
