//! What autowire refuses, and the warnings that users get.

use keda_http_kubernetes::object::Kind;
use serde_json::{Value, json};

use super::cluster::*;

/// The reasons of all warnings, with the name of the object.
async fn warnings(cluster: &mut Cluster) -> Vec<String> {
    let (_, notices) = cluster.settle(&mut planner()).await;
    let warnings = notices.iter().filter(|notice| notice.warning);
    warnings
        .map(|notice| format!("{}: {}", notice.about.id.name, notice.reason))
        .collect()
}

fn http() -> Value {
    json!([{"name": "http", "port": 80}])
}

#[tokio::test(start_paused = true)]
async fn a_port_that_cannot_be_autowired_is_left_alone_with_a_warning() {
    type Break = fn(&mut Cluster);
    let table: [(&str, Break); 10] = [
        ("AutowireNoService", |cluster| cluster.delete(Kind::Service, "api")),
        ("AutowireServiceHasSelector", |cluster| {
            cluster.apply(&back("api", &http()));
        }),
        ("AutowireServiceHeadless", |cluster| {
            let mut service = front("api", &http());
            service["spec"]["clusterIP"] = json!("None");
            cluster.apply(&service);
        }),
        ("AutowireServiceExternalName", |cluster| {
            let mut service = front("api", &http());
            service["spec"]["type"] = json!("ExternalName");
            cluster.apply(&service);
        }),
        ("AutowireNoPort", |cluster| {
            cluster.apply(&scaled("api", &json!({"port": "81"})));
        }),
        ("AutowireNoPort", |cluster| {
            cluster.apply(&front("api", &json!([{"name": "http", "port": 80, "protocol": "UDP"}])));
        }),
        ("AutowireFallbackIsService", |cluster| {
            cluster.apply(&scaled("api", &json!({"fallbackService": "api"})));
        }),
        ("AutowireNoFallbackService", |cluster| {
            cluster.delete(Kind::Service, "pods");
        }),
        ("AutowireNoFallbackPort", |cluster| {
            cluster.apply(&back("pods", &json!([{"name": "grpc", "port": 90}])));
        }),
        ("AutowireNoFallbackPort", |cluster| {
            cluster.apply(&scaled("api", &json!({"port": null, "portName": "http"})));
        }),
    ];
    for (index, (reason, break_it)) in table.into_iter().enumerate() {
        let mut cluster = Cluster::new();
        if index == 9 {
            cluster.apply(&back("pods", &json!([{"name": "web", "port": 80}])));
        }
        break_it(&mut cluster);
        assert_eq!(warnings(&mut cluster).await, [format!("api: {reason}")], "{index}");
        assert!(
            cluster.slices().is_empty() && cluster.listeners().is_empty(),
            "{reason}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_fallback_service_that_is_autowired_itself_is_refused_so_no_circle_is_possible() {
    let mut cluster = Cluster::new();
    cluster.apply(&front("middle", &http()));
    cluster.apply(&scaled("api", &json!({"fallbackService": "middle"})));
    cluster.apply(&scaled("middle", &json!({"service": "middle"})));
    assert_eq!(warnings(&mut cluster).await, ["api: AutowireFallbackAutowired"]);
    assert_eq!(cluster.slices(), ["middle-keda-http-http-ipv4 wired 10.1.0.1 -> 20000"]);
    cluster.apply(&scaled(
        "middle",
        &json!({"service": "middle", "fallbackService": "api"}),
    ));
    assert_eq!(
        warnings(&mut cluster).await,
        ["api: AutowireFallbackAutowired", "middle: AutowireFallbackAutowired"]
    );
    assert_eq!(
        cluster.slices(),
        ["middle-keda-http-http-ipv4 released 10.0.0.1,10.0.0.2 -> 8080"],
        "back to the pods it had before"
    );
    cluster.delete(Kind::ScaledObject, "middle");
    assert_eq!(
        warnings(&mut cluster).await,
        ["api: AutowireFallbackAutowired"],
        "its endpoints are still written by us"
    );
}

#[tokio::test(start_paused = true)]
async fn interceptors_and_our_own_slices_are_never_taken_for_pods() {
    let mut cluster = Cluster::new();
    let ports = json!([{"name": "http", "port": 8080}]);
    cluster.apply(&pods("pods-1", "pods", &ports, &["10.1.0.1", "10.0.0.1", "10.1.0.2"]));
    let mut ours = pods("pods-2", "pods", &ports, &["10.0.0.7"]);
    ours["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"] = json!("keda-http-autowire.keda.sh");
    cluster.interceptors = vec![interceptor("10.1.0.1"), interceptor("10.1.0.2")];
    cluster
        .interceptors
        .iter_mut()
        .for_each(|interceptor| interceptor.pod.ready = false);
    cluster.settle(&mut planner()).await;
    assert_eq!(cluster.slices(), ["api-keda-http-http-ipv4 fallback 10.0.0.1 -> 8080"]);
    cluster.apply(&ours);
    cluster.settle(&mut planner()).await;
    assert!(
        cluster
            .slices()
            .iter()
            .all(|slice| !slice.starts_with("api") || !slice.contains("10.0.0.7"))
    );
}

#[tokio::test(start_paused = true)]
async fn of_two_objects_that_want_a_port_the_older_one_has_it() {
    let mut cluster = Cluster::new();
    let mut younger = scaled("a-younger-one", &json!({"fallbackService": "others"}));
    younger["metadata"]["creationTimestamp"] = json!("2026-01-02T00:00:00Z");
    cluster.apply(&back("others", &http()));
    cluster.apply(&younger);
    assert_eq!(warnings(&mut cluster).await, ["a-younger-one: AutowirePortTaken"]);
    cluster.interceptors.clear();
    cluster.settle(&mut planner()).await;
    assert_eq!(
        cluster.slices(),
        ["api-keda-http-http-ipv4 fallback 10.0.0.1,10.0.0.2 -> 8080"]
    );
    cluster.delete(Kind::ScaledObject, "api");
    assert!(warnings(&mut cluster).await.is_empty());
    assert_eq!(cluster.slices(), ["api-keda-http-http-ipv4 fallback  -> 80"]);
}

#[tokio::test(start_paused = true)]
async fn triggers_of_one_object_share_a_port_when_they_name_it_alike() {
    let mut cluster = Cluster::new();
    cluster.apply(&back("others", &http()));
    let paths = json!({"pathPrefixes": "/v2"});
    cluster.apply(&scaled_with("api", &[&json!({}), &paths]));
    assert!(warnings(&mut cluster).await.is_empty());
    let named = json!({"port": null, "portName": "http"});
    cluster.apply(&scaled_with("api", &[&json!({}), &named]));
    assert_eq!(
        warnings(&mut cluster).await,
        ["api: AutowirePortTaken"],
        "interceptors know a listener by one name"
    );
    let other = json!({"fallbackService": "others"});
    cluster.apply(&scaled_with("api", &[&json!({}), &other]));
    assert_eq!(warnings(&mut cluster).await, ["api: AutowireFallbacksDiffer"]);
    assert_eq!(cluster.slices(), ["api-keda-http-http-ipv4 wired 10.1.0.1 -> 20000"]);
}

#[tokio::test(start_paused = true)]
async fn foreign_slices_get_a_warning_because_they_bypass_the_interceptors() {
    let mut cluster = Cluster::new();
    cluster.apply(&pods("api-left-over", "api", &http(), &[]));
    assert!(warnings(&mut cluster).await.is_empty(), "an empty one does not matter");
    cluster.apply(&pods("api-left-over", "api", &http(), &["10.0.0.3"]));
    assert_eq!(warnings(&mut cluster).await, ["api: AutowireForeignEndpointSlices"]);
    assert_eq!(cluster.slices(), ["api-keda-http-http-ipv4 wired 10.1.0.1 -> 20000"]);
}

#[tokio::test(start_paused = true)]
async fn an_http_scaled_object_with_kedifys_annotations_is_autowired_too() {
    let mut cluster = Cluster::new();
    cluster.delete(Kind::ScaledObject, "api");
    cluster.apply(&json!({
        "apiVersion": "http.keda.sh/v1alpha1", "kind": "HTTPScaledObject",
        "metadata": {"name": "api", "namespace": "shop", "annotations": {
            "http.kedify.io/traffic-autowire": "service", "http.kedify.io/fallback-service": "pods",
        }},
        "spec": {"hosts": ["api"], "scaleTargetRef": {"name": "api", "service": "api", "port": 80}},
    }));
    assert!(warnings(&mut cluster).await.is_empty());
    assert_eq!(cluster.slices(), ["api-keda-http-http-ipv4 wired 10.1.0.1 -> 20000"]);
}
