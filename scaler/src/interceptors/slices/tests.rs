use serde_json::{Value, json};

use super::*;

fn slice(name: &str, ports: &Value, endpoints: &Value) -> EndpointSlice {
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "keda"}, "addressType": "IPv4", "ports": ports, "endpoints": endpoints,
    }))
    .unwrap()
}

fn admin(name: &str, endpoints: &Value) -> EndpointSlice {
    slice(name, &json!([{"name": "admin", "port": 9090}]), endpoints)
}

fn pods(slices: &[EndpointSlice]) -> Vec<Pod> {
    let mut index = Slices::new("keda", 9090);
    for slice in slices {
        index.apply(&Object::EndpointSlice(Box::new(slice.clone())));
    }
    index.pods()
}

fn interceptors(slices: &[EndpointSlice]) -> Vec<String> {
    let pods = pods(slices);
    pods.iter().map(|pod| pod.interceptor.to_string()).collect()
}

#[test]
fn ready_not_ready_and_terminating_ones_count_alike_and_only_the_first_are_ready() {
    let endpoints = json!([
        {"addresses": ["10.0.0.1"], "conditions": {"ready": true}},
        {"addresses": ["10.0.0.2"], "conditions": {"ready": false}},
        {"addresses": ["10.0.0.3"], "conditions": {"ready": false, "serving": true, "terminating": true}},
        {"addresses": ["10.0.0.4"]},
        {"addresses": ["10.0.0.5"], "conditions": {"ready": true, "terminating": true}},
        {"addresses": []},
        {"addresses": ["interceptor.example"]},
    ]);
    let pods = pods(&[admin("one", &endpoints)]);
    let read: Vec<_> = pods.iter().map(|pod| (pod.interceptor.as_str(), pod.ready)).collect();
    assert_eq!(
        read,
        [
            ("10.0.0.1:9090", true),
            ("10.0.0.2:9090", false),
            ("10.0.0.3:9090", false),
            ("10.0.0.4:9090", true),
            ("10.0.0.5:9090", false),
        ]
    );
}

#[test]
fn a_pod_of_two_families_is_one_by_its_ipv4_address() {
    let endpoint = |address: &str, uid: &str| {
        json!([{
            "addresses": [address], "nodeName": "node-1", "zone": "a",
            "targetRef": {"kind": "Pod", "name": format!("pod-{uid}"), "uid": uid},
        }])
    };
    let slices = [
        admin("v6", &endpoint("fd00::1", "1")),
        admin("v4", &endpoint("10.0.0.1", "1")),
        admin("only-v6", &endpoint("fd00::2", "2")),
    ];
    let pods = pods(&slices);
    let read: Vec<_> = pods.iter().map(|pod| pod.interceptor.as_str()).collect();
    assert_eq!(read, ["10.0.0.1:9090", "[fd00::2]:9090"]);
    assert_eq!(
        pods[0].addresses,
        ["10.0.0.1", "fd00::1"].map(|ip| ip.parse::<IpAddr>().unwrap())
    );
    let place = (pods[0].node.as_deref(), pods[0].zone.as_deref());
    assert_eq!(place, (Some("node-1"), Some("a")));
}

#[test]
fn a_pod_in_two_slices_is_one_and_ready_only_when_both_say_so() {
    let endpoint = |ready: bool| json!([{"addresses": ["10.0.0.1"], "conditions": {"ready": ready}}]);
    let pods = pods(&[admin("old", &endpoint(true)), admin("new", &endpoint(false))]);
    assert_eq!(pods.len(), 1);
    assert!(!pods[0].ready && pods[0].addresses.len() == 1);
}

#[test]
fn the_port_is_the_configured_one_else_the_one_by_the_name_admin() {
    let endpoints = json!([{"addresses": ["10.0.0.1"]}]);
    for (ports, expected) in [
        (
            json!([{"name": "admin", "port": 9191}, {"name": "http", "port": 9090}]),
            "10.0.0.1:9090",
        ),
        (
            json!([{"name": "metrics", "port": 2223}, {"name": "admin", "port": 9191}]),
            "10.0.0.1:9191",
        ),
        (json!([{"name": "http", "port": 8080}]), "10.0.0.1:9090"),
        (json!([]), "10.0.0.1:9090"),
        (Value::Null, "10.0.0.1:9090"),
    ] {
        assert_eq!(interceptors(&[slice("one", &ports, &endpoints)]), [expected], "{ports}");
    }
}

#[test]
fn slices_come_change_and_go() {
    let endpoints = |address: &str| json!([{"addresses": [address]}]);
    let object = |name: &str, address: &str| Object::EndpointSlice(Box::new(admin(name, &endpoints(address))));
    let id = |name: &str| ObjectId {
        kind: Kind::EndpointSlice,
        namespace: "keda".to_owned(),
        name: name.to_owned(),
    };
    let mut index = Slices::new("keda", 9090);
    index.apply(&object("one", "10.0.0.1"));
    index.apply(&object("two", "10.0.0.2"));
    assert_eq!(index.pods().len(), 2);
    index.apply(&object("one", "10.0.0.3"));
    index.delete(&id("two"));
    index.delete(&id("unknown"));
    assert_eq!(index.pods()[0].interceptor.as_str(), "10.0.0.3:9090");
    index.reset(Kind::EndpointSlice, &[]);
    assert!(index.pods().is_empty());
}
