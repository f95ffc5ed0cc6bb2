#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::source::Change;

fn object(document: &Value) -> Object {
    Object::parse(document).unwrap().unwrap()
}

fn apply(index: &mut EndpointIndex, document: &Value) -> Vec<String> {
    names(&index.update(&Change::Apply(object(document))))
}

fn delete(index: &mut EndpointIndex, kind: Kind, name: &str) -> Vec<String> {
    let id = ObjectId {
        kind,
        namespace: "shop".into(),
        name: name.into(),
    };
    names(&index.update(&Change::Delete(id)))
}

fn names(touched: &[ServiceKey]) -> Vec<String> {
    let names: BTreeSet<String> = touched
        .iter()
        .map(|key| format!("{}/{}", key.namespace, key.name))
        .collect();
    names.into_iter().collect()
}

fn service(name: &str, ports: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "shop"},
        "spec": {"ports": ports},
    })
}

fn slice(name: &str, service: &str, ports: &Value, endpoints: &Value) -> Value {
    typed_slice(name, service, "IPv4", ports, endpoints)
}

fn typed_slice(name: &str, service: &str, addresses: &str, ports: &Value, endpoints: &Value) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": addresses,
        "metadata": {"name": name, "namespace": "shop", "labels": {"kubernetes.io/service-name": service}},
        "ports": ports, "endpoints": endpoints,
    })
}

fn ready(addresses: &[&str]) -> Value {
    addresses
        .iter()
        .map(|address| json!({"addresses": [address], "conditions": {"ready": true}}))
        .collect()
}

fn at(service: &str, port: PortRef) -> ServiceRef {
    ServiceRef {
        namespace: "shop".into(),
        service: service.into(),
        port,
    }
}

fn number(number: u16) -> PortRef {
    PortRef::Number(number)
}

fn name(name: &str) -> PortRef {
    PortRef::Name(name.into())
}

/// The endpoints as text, or the error as text.
fn found(index: &EndpointIndex, port: PortRef) -> Vec<String> {
    match index.endpoints(&at("api", port)) {
        Ok(endpoints) => endpoints.ready.iter().map(|ready| ready.address.to_string()).collect(),
        Err(error) => vec![error.to_string()],
    }
}

#[test]
fn a_service_port_is_resolved_by_its_name_to_the_containers_port() {
    let mut index = EndpointIndex::default();
    let ports = json!([{"name": "web", "port": 80, "targetPort": 8080}, {"name": "admin", "port": 81}]);
    assert_eq!(apply(&mut index, &service("api", &ports)), ["shop/api"]);
    assert_eq!(found(&index, number(80)), [""; 0]);
    let ports = json!([{"name": "web", "port": 8080}, {"name": "admin", "port": 9000}]);
    assert_eq!(
        apply(&mut index, &slice("api-1", "api", &ports, &ready(&["10.0.0.1"]))),
        ["shop/api"]
    );
    assert_eq!(found(&index, number(80)), ["10.0.0.1:8080"]);
    assert_eq!(found(&index, name("admin")), ["10.0.0.1:9000"]);
    assert_eq!(
        found(&index, number(8080)),
        ["Service shop/api has no port 8080; it has 80 (web), 81 (admin)"]
    );
    assert_eq!(
        found(&index, name("metrics")),
        ["Service shop/api has no port metrics; it has 80 (web), 81 (admin)"]
    );
}

#[test]
fn slices_that_lead_to_interceptors_are_no_endpoints_for_them() {
    let mut index = EndpointIndex::default();
    apply(&mut index, &service("api", &json!([{"port": 80}])));
    let mut written = slice("api-1", "api", &json!([{"port": 20000}]), &ready(&["10.1.0.1"]));
    written["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"] = json!("keda-http-autowire.keda.sh");
    for (state, expected) in [
        ("wired", None),
        ("fallback", Some("10.1.0.1:20000")),
        ("released", Some("10.1.0.1:20000")),
    ] {
        written["metadata"]["annotations"] = json!({"http.keda.sh/autowire-state": state});
        apply(&mut index, &written);
        assert_eq!(found(&index, number(80)), Vec::from_iter(expected), "{state}");
    }
}

#[test]
fn a_port_without_a_name_is_found_by_its_number() {
    let mut index = EndpointIndex::default();
    apply(&mut index, &service("api", &json!([{"port": 80}])));
    for ports in [json!([{"port": 8080}]), json!([{"name": "", "port": 8080}])] {
        apply(&mut index, &slice("api-1", "api", &ports, &ready(&["10.0.0.1"])));
        assert_eq!(found(&index, number(80)), ["10.0.0.1:8080"]);
    }
}

#[test]
fn without_its_service_a_port_is_found_by_name_only() {
    let mut index = EndpointIndex::default();
    assert_eq!(found(&index, name("web")), ["there is no Service shop/api"]);
    apply(
        &mut index,
        &slice(
            "api-1",
            "api",
            &json!([{"name": "web", "port": 8080}]),
            &ready(&["10.0.0.1"]),
        ),
    );
    assert_eq!(found(&index, name("web")), ["10.0.0.1:8080"]);
    assert_eq!(found(&index, number(8080)), ["there is no Service shop/api"]);
}

#[test]
fn readiness_is_that_of_kubernetes() {
    let table = [
        (json!(null), true),
        (json!({}), true),
        (json!({"ready": null}), true),
        (json!({"ready": true}), true),
        (json!({"ready": false}), false),
        (json!({"ready": false, "serving": true, "terminating": true}), false),
        (json!({"serving": true, "terminating": true}), false),
        (json!({"ready": true, "terminating": true}), true),
    ];
    for (conditions, expected) in table {
        let mut index = EndpointIndex::default();
        let endpoints = json!([{"addresses": ["10.0.0.1", "10.0.0.2"], "conditions": conditions}]);
        apply(
            &mut index,
            &slice("api-1", "api", &json!([{"name": "web", "port": 1}]), &endpoints),
        );
        let expected: Vec<&str> = expected.then_some("10.0.0.1:1").into_iter().collect();
        assert_eq!(found(&index, name("web")), expected, "{conditions}");
    }
}

#[test]
fn slices_of_a_service_count_together_and_each_endpoint_once() {
    let mut index = EndpointIndex::default();
    let ports = json!([{"name": "web", "port": 1}]);
    apply(
        &mut index,
        &slice("api-2", "api", &ports, &ready(&["10.0.0.3", "10.0.0.1"])),
    );
    apply(
        &mut index,
        &slice("api-1", "api", &ports, &ready(&["10.0.0.2", "10.0.0.1"])),
    );
    apply(&mut index, &slice("other", "other", &ports, &ready(&["10.0.0.9"])));
    assert_eq!(found(&index, name("web")), ["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"]);
    assert_eq!(delete(&mut index, Kind::EndpointSlice, "api-2"), ["shop/api"]);
    assert_eq!(found(&index, name("web")), ["10.0.0.1:1", "10.0.0.2:1"]);
    assert_eq!(delete(&mut index, Kind::EndpointSlice, "api-2"), [""; 0]);
}

#[test]
fn one_address_for_a_pod_of_both_families() {
    let mut index = EndpointIndex::default();
    let ports = json!([{"name": "web", "port": 1}]);
    let pod = |address: &str, uid: &str| json!({"addresses": [address], "targetRef": {"kind": "Pod", "uid": uid}});
    let by_name =
        |address: &str, name: &str| json!({"addresses": [address], "targetRef": {"kind": "Pod", "name": name}});
    let v6 =
        json!([pod("fd00::1", "one"), pod("fd00::2", "two"), by_name("fd00::3", "three"), {"addresses": ["fd00::4"]}]);
    let v4 = json!([pod("10.0.0.1", "one"), by_name("10.0.0.3", "three"), {"addresses": ["10.0.0.4"]}]);
    apply(&mut index, &typed_slice("api-1", "api", "IPv6", &ports, &v6));
    apply(&mut index, &typed_slice("api-2", "api", "IPv4", &ports, &v4));
    assert_eq!(
        found(&index, name("web")),
        ["10.0.0.1:1", "10.0.0.3:1", "10.0.0.4:1", "[fd00::2]:1", "[fd00::4]:1"]
    );
}

#[test]
fn endpoints_without_an_address_are_ignored() {
    let mut index = EndpointIndex::default();
    let ports = json!([{"name": "web", "port": 1}, {"name": "any"}, {"name": "udp", "port": 2, "protocol": "UDP"}]);
    apply(
        &mut index,
        &typed_slice("api-1", "api", "FQDN", &ports, &ready(&["example.com"])),
    );
    apply(
        &mut index,
        &slice("api-2", "api", &ports, &ready(&["example.com", "10.0.0.1"])),
    );
    assert_eq!(found(&index, name("web")), ["10.0.0.1:1"]);
    assert_eq!(found(&index, name("any")), [""; 0]);
    assert_eq!(found(&index, name("udp")), [""; 0]);
}

#[test]
fn the_protocol_is_the_service_ports_else_the_slices() {
    let protocol = |of_service: &Value, of_slice: &Value| {
        let mut index = EndpointIndex::default();
        apply(
            &mut index,
            &service("api", &json!([{"port": 80, "appProtocol": of_service}])),
        );
        apply(
            &mut index,
            &slice(
                "api-1",
                "api",
                &json!([{"port": 1, "appProtocol": of_slice}]),
                &ready(&["10.0.0.1"]),
            ),
        );
        index.endpoints(&at("api", number(80))).unwrap().protocol
    };
    assert_eq!(protocol(&json!(null), &json!(null)), AppProtocol::Http1);
    assert_eq!(protocol(&json!("http"), &json!(null)), AppProtocol::Http1);
    assert_eq!(protocol(&json!("kubernetes.io/h2c"), &json!(null)), AppProtocol::H2c);
    assert_eq!(protocol(&json!(null), &json!("kubernetes.io/h2c")), AppProtocol::H2c);
}

#[test]
fn unchanged_objects_report_no_change() {
    let mut index = EndpointIndex::default();
    let api = service("api", &json!([{"port": 80}]));
    let mut labelled = api.clone();
    labelled["metadata"]["labels"] = json!({"team": "a"});
    assert_eq!(apply(&mut index, &api), ["shop/api"]);
    assert_eq!(apply(&mut index, &labelled), [""; 0]);
    let not_ready =
        |serving: bool| json!([{"addresses": ["10.0.0.1"], "conditions": {"ready": false, "serving": serving}}]);
    apply(
        &mut index,
        &slice("api-1", "api", &json!([{"port": 1}]), &not_ready(true)),
    );
    assert_eq!(
        apply(
            &mut index,
            &slice("api-1", "api", &json!([{"port": 1}]), &not_ready(false))
        ),
        [""; 0]
    );
}

#[test]
fn a_slice_can_move_to_another_service() {
    let mut index = EndpointIndex::default();
    let ports = json!([{"name": "web", "port": 1}]);
    apply(&mut index, &slice("x", "api", &ports, &ready(&["10.0.0.1"])));
    assert_eq!(
        apply(&mut index, &slice("x", "other", &ports, &ready(&["10.0.0.1"]))),
        ["shop/api", "shop/other"]
    );
    assert_eq!(found(&index, name("web")), ["there is no Service shop/api"]);
    let mut unlabelled = slice("x", "other", &ports, &ready(&["10.0.0.1"]));
    unlabelled["metadata"]["labels"] = json!({});
    assert_eq!(apply(&mut index, &unlabelled), ["shop/other"]);
    assert!(index.services.is_empty() && index.owners.is_empty());
}

#[test]
fn a_reset_removes_objects_missing_in_it() {
    let mut index = EndpointIndex::default();
    let ports = json!([{"name": "web", "port": 1}]);
    apply(&mut index, &service("api", &ports));
    apply(&mut index, &service("old", &ports));
    apply(&mut index, &slice("api-1", "api", &ports, &ready(&["10.0.0.1"])));
    let touched = index.update(&Change::Reset(
        Kind::Service,
        vec![object(&service("api", &ports)), object(&service("new", &ports))],
    ));
    assert_eq!(names(&touched), ["shop/new", "shop/old"]);
    assert_eq!(
        names(&index.update(&Change::Reset(Kind::EndpointSlice, Vec::new()))),
        ["shop/api"]
    );
    assert_eq!(found(&index, name("web")), [""; 0]);
}

fn external(name: &str, more: &Value) -> Value {
    let mut service = service("api", &json!([]));
    service["spec"] = json!({"type": "ExternalName", "externalName": name});
    for (key, value) in more.as_object().unwrap() {
        service["spec"][key] = value.clone();
    }
    service
}

#[test]
fn an_external_name_is_its_services_one_endpoint() {
    let mut index = EndpointIndex::default();
    let bare = external("db.example.com", &json!({}));
    assert_eq!(apply(&mut index, &bare), ["shop/api"]);
    assert_eq!(found(&index, number(8080)), ["db.example.com:8080"]);
    assert_eq!(
        found(&index, name("web")),
        ["Service shop/api has no port web; it has none"]
    );
    let ports = json!({"ports": [{"name": "web", "port": 80, "appProtocol": "kubernetes.io/h2c"}]});
    apply(&mut index, &external("db.example.com", &ports));
    let listed = index.endpoints(&at("api", name("web"))).unwrap();
    assert_eq!(
        (listed.ready[0].address.to_string().as_str(), listed.protocol),
        ("db.example.com:80", AppProtocol::H2c)
    );
    assert_eq!(
        found(&index, number(8080)),
        ["db.example.com:8080"],
        "as Kubernetes, which looks at no port"
    );
    assert_eq!(apply(&mut index, &external("b.example.com", &ports)), ["shop/api"]);
    assert_eq!(found(&index, number(80)), ["b.example.com:80"]);
    apply(&mut index, &service("api", &json!([{"port": 80}])));
    assert_eq!(found(&index, number(80)), [""; 0], "now it has pods, or none");
}

#[test]
fn an_endpoint_is_called_by_its_pod_and_else_by_its_address_but_not_in_clear() {
    let ids = |endpoints: &Value| -> Vec<EndpointId> {
        let mut index = EndpointIndex::default();
        apply(&mut index, &slice("api-1", "api", &json!([{"port": 8080}]), endpoints));
        let endpoints = index.endpoints(&at("api", name(""))).unwrap();
        endpoints.ready.iter().map(|ready| ready.id).collect()
    };
    let pod = |address: &str, target: Value| json!({"addresses": [address], "targetRef": target});
    let uid = |address, uid: &str| ids(&json!([pod(address, json!({"kind": "Pod", "name": "a", "uid": uid}))]));
    assert_eq!(uid("10.0.0.1", "x"), uid("10.0.0.2", "x"));
    assert_ne!(uid("10.0.0.1", "x"), uid("10.0.0.1", "y"));
    // The first eight bytes of the SHA-256 of "x": cookies of other versions must stay valid.
    assert_eq!(uid("10.0.0.1", "x"), [EndpointId(0x2d71_1642_b726_b044)]);
    let bare = ids(&json!([{"addresses": ["10.0.0.1"]}, {"addresses": ["10.0.0.2"]}]));
    assert_eq!(bare, ids(&ready(&["10.0.0.1", "10.0.0.2"])));
    assert_ne!(bare[0], bare[1]);
}

/// Few names, so that changes meet.
fn any_document() -> impl Strategy<Value = Value> {
    let service_name = prop::sample::select(vec!["api", "web"]);
    let ports = prop::sample::select(vec![
        json!([{"name": "web", "port": 80}]),
        json!([{"port": 80}]),
        json!([]),
    ]);
    let address = prop::sample::select(vec!["10.0.0.1", "10.0.0.2", "fd00::1"]);
    let endpoint = (address, any::<Option<bool>>(), 0..3_u8).prop_map(|(address, ready, pod)| {
        json!({"addresses": [address], "conditions": {"ready": ready}, "targetRef": {"kind": "Pod", "uid": format!("{pod}")}})
    });
    let any_slice = (
        prop::sample::select(vec!["s1", "s2", "s3"]),
        service_name.clone(),
        ports.clone(),
        prop::collection::vec(endpoint, 0..4),
    );
    prop_oneof![
        (service_name, ports).prop_map(|(name, ports)| service(name, &ports)),
        any_slice.prop_map(|(name, service, ports, endpoints)| slice(name, service, &ports, &Value::Array(endpoints))),
    ]
}

/// What a reader can see.
fn view(index: &EndpointIndex) -> Vec<Result<Endpoints, EndpointsError>> {
    let ports = [number(80), number(81), name("web"), name("")];
    ["api", "web"]
        .iter()
        .flat_map(|service| ports.iter().map(|port| index.endpoints(&at(service, port.clone()))))
        .collect()
}

proptest! {
    #[test]
    fn the_order_of_changes_leaves_no_trace(steps in prop::collection::vec((any_document(), 0..4_u8), 1..40)) {
        let mut index = EndpointIndex::default();
        let mut living = HashMap::new();
        for (document, step) in steps {
            let object = object(&document);
            let before = view(&index);
            let change = if step == 0 {
                living.remove(&object.id());
                Change::Delete(object.id())
            } else {
                living.insert(object.id(), object.clone());
                Change::Apply(object)
            };
            let touched = index.update(&change);
            prop_assert!(!touched.is_empty() || view(&index) == before, "a change that was not told");
            let mut fresh = EndpointIndex::default();
            for kind in [Kind::EndpointSlice, Kind::Service] {
                let objects = living.values().filter(|object| object.kind() == kind).cloned().collect();
                fresh.update(&Change::Reset(kind, objects));
            }
            prop_assert_eq!(view(&index), view(&fresh));
            prop_assert_eq!(&index.services, &fresh.services);
        }
    }
}

#[test]
fn fault_b7_a_port_for_grpc_or_http2_is_spoken_to_with_prior_knowledge() {
    let protocol = |name: &str, app_protocol: Value| {
        let mut index = EndpointIndex::default();
        let port = json!([{"name": name, "port": 80, "appProtocol": app_protocol}]);
        apply(&mut index, &service("api", &port));
        index.endpoints(&at("api", number(80))).unwrap().protocol
    };
    for app_protocol in ["grpc", "GRPC", "h2c", "http2", "kubernetes.io/h2c"] {
        assert_eq!(protocol("web", json!(app_protocol)), AppProtocol::H2c, "{app_protocol}");
    }
    for name in ["grpc", "grpc-api", "h2c", "http2-api"] {
        assert_eq!(protocol(name, json!(null)), AppProtocol::H2c, "{name}");
        assert_eq!(
            protocol(name, json!("http")),
            AppProtocol::Http1,
            "appProtocol takes precedence over {name}"
        );
    }
    for name in ["http", "grpcx", "grpc-web", "grpc-web-api", "GRPC-Web-1", "my-grpc"] {
        assert_eq!(protocol(name, json!(null)), AppProtocol::Http1, "{name}");
    }
}
