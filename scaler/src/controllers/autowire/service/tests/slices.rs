//! What is in the slices.

use keda_http_kubernetes::object::{Kind, Object};
use serde_json::{Value, json};

use super::cluster::*;
use crate::controllers::autowire::service::plan::Write;
use crate::controllers::autowire::service::slices::SliceWrite;

fn slice(cluster: &Cluster, name: &str) -> Value {
    let Object::EndpointSlice(slice) = &cluster.objects[&id(Kind::EndpointSlice, name)] else {
        panic!();
    };
    let mut slice = serde_json::to_value(slice).unwrap();
    slice["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    slice
}

#[tokio::test(start_paused = true)]
async fn a_slice_says_whose_it_is_and_all_that_is_needed_to_go_on() {
    let mut cluster = Cluster::new();
    cluster.settle(&mut planner()).await;
    let expected = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {
            "name": "api-keda-http-http-ipv4", "namespace": "shop",
            "labels": {
                "kubernetes.io/service-name": "api",
                "endpointslice.kubernetes.io/managed-by": "keda-http-autowire.keda.sh",
            },
            "annotations": {
                "http.keda.sh/autowire-state": "wired", "http.keda.sh/autowire-scaled-object": "api",
                "http.keda.sh/autowire-fallback-service": "pods", "http.keda.sh/autowire-listener-port": "20000",
            },
            "ownerReferences": [{"apiVersion": "v1", "kind": "Service", "name": "api", "uid": "uid-api"}],
        },
        "ports": [{"name": "http", "port": 20000, "protocol": "TCP"}],
        "endpoints": [{
            "addresses": ["10.1.0.1"], "nodeName": "node-1", "zone": "zone-a",
            "conditions": {"ready": true, "serving": true, "terminating": false},
        }],
    });
    assert_eq!(slice(&cluster, "api-keda-http-http-ipv4"), expected);
}

#[tokio::test(start_paused = true)]
async fn only_the_autowired_port_points_to_interceptors_the_others_to_the_containers_own_ports() {
    let mut cluster = Cluster::new();
    let number = json!({"port": null, "portName": "web"});
    cluster.apply(&scaled("api", &number));
    cluster.apply(&front(
        "api",
        &json!([
            {"name": "web", "port": 80}, {"name": "grpc", "port": 81, "appProtocol": "kubernetes.io/h2c"},
            {"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "alone", "port": 99},
        ]),
    ));
    cluster.apply(&back(
        "pods",
        &json!([
            {"name": "web", "port": 8000, "targetPort": "container"}, {"name": "other", "port": 81},
            {"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 99, "protocol": "UDP"},
        ]),
    ));
    let ports = json!([
        {"name": "web", "port": 8080}, {"name": "other", "port": 9000, "appProtocol": "grpc"},
        {"name": "dns", "port": 5353, "protocol": "UDP"},
    ]);
    cluster.apply(&pods("pods-1", "pods", &ports, &["10.0.0.1"]));
    cluster.settle(&mut planner()).await;
    let wired = [
        "api-keda-http-alone-ipv4 fallback  -> 99",
        "api-keda-http-dns-ipv4 fallback 10.0.0.1 -> 5353",
        "api-keda-http-grpc-ipv4 fallback 10.0.0.1 -> 9000",
        "api-keda-http-web-ipv4 wired 10.1.0.1 -> 20000",
    ];
    assert_eq!(cluster.slices(), wired);
    let dns = &slice(&cluster, "api-keda-http-dns-ipv4")["ports"];
    assert_eq!(dns, &json!([{"name": "dns", "port": 5353, "protocol": "UDP"}]));
    assert_eq!(
        slice(&cluster, "api-keda-http-grpc-ipv4")["ports"][0]["appProtocol"],
        "grpc"
    );
    cluster.interceptors.clear();
    cluster.settle(&mut planner()).await;
    assert_eq!(cluster.slices()[3], "api-keda-http-web-ipv4 fallback 10.0.0.1 -> 8080");
}

#[tokio::test(start_paused = true)]
async fn a_single_port_needs_no_name() {
    let mut cluster = Cluster::new();
    cluster.apply(&front("api", &json!([{"port": 80}])));
    cluster.apply(&back("pods", &json!([{"port": 80}])));
    cluster.apply(&pods(
        "pods-1",
        "pods",
        &json!([{"name": "", "port": 8080}]),
        &["10.0.0.1"],
    ));
    let first = cluster.plan(&mut planner());
    first.writes.iter().for_each(|write| cluster.write(write));
    assert_eq!(cluster.slices(), ["api-keda-http-80-ipv4 fallback 10.0.0.1 -> 8080"]);
    cluster.settle(&mut planner()).await;
    assert_eq!(cluster.slices(), ["api-keda-http-80-ipv4 wired 10.1.0.1 -> 20000"]);
    assert_eq!(slice(&cluster, "api-keda-http-80-ipv4")["ports"][0]["name"], "");
}

#[tokio::test(start_paused = true)]
async fn pods_keep_their_conditions_names_nodes_and_zones() {
    let mut cluster = Cluster::new();
    cluster.interceptors.clear();
    let mut given = pods("pods-1", "pods", &json!([{"name": "http", "port": 8080}]), &[]);
    let endpoints = json!([
        {
            "addresses": ["10.0.0.1"], "nodeName": "n", "zone": "z", "hostname": "h",
            "conditions": {"ready": false, "serving": true, "terminating": true},
            "targetRef": {"kind": "Pod", "name": "api-1", "namespace": "shop", "uid": "u"},
        },
        {"addresses": ["10.0.0.2"]},
    ]);
    given["endpoints"] = endpoints.clone();
    cluster.apply(&given);
    cluster.settle(&mut planner()).await;
    assert_eq!(slice(&cluster, "api-keda-http-http-ipv4")["endpoints"], endpoints);
}

#[tokio::test(start_paused = true)]
async fn many_pods_are_cut_into_slices_and_no_address_is_lost_on_the_way() {
    let mut cluster = Cluster::new();
    let mut planner = planner();
    let many: Vec<String> = (0..250).map(|index| format!("10.2.0.{index}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    cluster.apply(&pods("pods-1", "pods", &json!([{"name": "http", "port": 8080}]), &many));
    cluster.settle(&mut planner).await;
    cluster.interceptors[0].pod.ready = false;
    cluster.settle(&mut planner).await;
    let count = |cluster: &Cluster, name: &str| slice(cluster, name)["endpoints"].as_array().unwrap().len();
    let name = "api-keda-http-http-ipv4";
    let counts = [name.to_owned(), format!("{name}-1"), format!("{name}-2")].map(|name| count(&cluster, &name));
    assert_eq!((counts, cluster.slices().len()), ([100, 100, 50], 3));
    cluster.interceptors[0].pod.ready = true;
    let (writes, _) = cluster.settle(&mut planner).await;
    assert_eq!(cluster.slices().len(), 1);
    let removed = |write: &Write| matches!(write, Write::Slice(_, SliceWrite::Remove { .. }));
    assert_eq!(
        writes.iter().map(removed).collect::<Vec<_>>(),
        [false, true, true],
        "what takes their place comes first"
    );
}

#[tokio::test(start_paused = true)]
async fn slices_are_cut_as_kubernetes_has_cut_them_so_that_one_pod_changes_one() {
    let mut cluster = Cluster::new();
    cluster.interceptors.clear();
    let mut planner = planner();
    cluster.apply(&pods(
        "pods-2",
        "pods",
        &json!([{"name": "http", "port": 8081}]),
        &["10.0.0.3"],
    ));
    cluster.settle(&mut planner).await;
    let both = [
        "api-keda-http-http-ipv4 fallback 10.0.0.1,10.0.0.2 -> 8080",
        "api-keda-http-http-ipv4-1 fallback 10.0.0.3 -> 8081",
    ];
    assert_eq!(
        cluster.slices(),
        both,
        "a named container port may differ from pod to pod"
    );
    cluster.apply(&pods(
        "pods-2",
        "pods",
        &json!([{"name": "http", "port": 8081}]),
        &["10.0.0.3", "10.0.0.4"],
    ));
    assert_eq!(cluster.settle(&mut planner).await.0.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn families_have_slices_of_their_own() {
    let mut cluster = Cluster::new();
    let mut planner = planner();
    let mut service = front("api", &json!([{"name": "http", "port": 80}]));
    service["spec"]["ipFamilies"] = json!(["IPv4", "IPv6"]);
    cluster.apply(&service);
    let mut v6 = pods("pods-6", "pods", &json!([{"name": "http", "port": 8080}]), &["fd00::1"]);
    v6["addressType"] = json!("IPv6");
    cluster.apply(&v6);
    cluster.interceptors[0].pod.addresses.push("fd01::1".parse().unwrap());
    cluster.interceptors.push(interceptor("fd01::2"));
    cluster.settle(&mut planner).await;
    let wired = [
        "api-keda-http-http-ipv4 wired 10.1.0.1 -> 20000",
        "api-keda-http-http-ipv6 wired fd01::1 -> 20000",
    ];
    assert_eq!(
        cluster.slices(),
        wired,
        "an interceptor without the Service's first family takes none of its traffic"
    );
    cluster.interceptors.clear();
    cluster.settle(&mut planner).await;
    let fallback = [
        "api-keda-http-http-ipv4 fallback 10.0.0.1,10.0.0.2 -> 8080",
        "api-keda-http-http-ipv6 fallback fd00::1 -> 8080",
    ];
    assert_eq!(cluster.slices(), fallback);
    service["spec"]["ipFamilies"] = json!(["IPv6"]);
    cluster.apply(&service);
    cluster.settle(&mut planner).await;
    assert_eq!(cluster.slices(), fallback[1..]);
}

#[tokio::test(start_paused = true)]
async fn a_port_that_is_renamed_or_goes_takes_its_slices_along() {
    let mut cluster = Cluster::new();
    let mut planner = planner();
    cluster.settle(&mut planner).await;
    cluster.apply(&front("api", &json!([{"name": "web", "port": 80}])));
    let (writes, _) = cluster.settle(&mut planner).await;
    assert_eq!(cluster.slices(), ["api-keda-http-web-ipv4 wired 10.1.0.1 -> 20000"]);
    assert!(
        matches!(&writes[0], Write::Slice(_, SliceWrite::Put { known: false, .. })),
        "{writes:?}"
    );
}
