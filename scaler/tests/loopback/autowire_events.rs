//! The Events that autowire publishes.

use std::sync::Arc;
use std::time::Duration;

use keda_http_kubernetes::object::Object;
use keda_http_kubernetes::source::Change;
use keda_http_scaler::config::{AdminService, AutowireConfig};
use keda_http_scaler::controllers::autowire;
use keda_http_scaler::controllers::context::{Context, InterceptorView, Update};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use crate::api_server::ApiServer;

const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/shop/events";
const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices";
const CONFIG_MAPS: &str = "/api/v1/namespaces/keda/configmaps";

fn scaled_object(name: &str) -> Value {
    let trigger = json!({
        "hosts": name, "service": name, "port": "80", "fallbackService": "pods", "scalingMetric": "requestRate",
        "trafficAutowire": "service",
    });
    json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": name, "namespace": "shop"},
        "spec": {"scaleTargetRef": {"name": name}, "triggers": [{"type": "kedify-http", "metadata": trigger}]},
    })
}

fn service(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "shop", "uid": name},
        "spec": {"ports": [{"port": 80}]},
    })
}

fn applied(objects: &[Value]) -> Update {
    let objects = objects.iter().map(|object| Object::parse(object).unwrap().unwrap());
    Update::Changed(objects.map(Change::Apply).collect())
}

fn start(server: &ApiServer) -> mpsc::UnboundedSender<Update> {
    let (sender, updates) = mpsc::unbounded_channel();
    let context = Context {
        client: server.client(),
        namespace: "keda".to_owned(),
        scaler_address: "scaler.keda:9090".to_owned(),
    };
    let config = AutowireConfig {
        ports: 20_000..=20_009,
        debounce: Duration::from_millis(100),
        sync_period: Duration::from_millis(50),
    };
    tokio::spawn(async move {
        let (pods, open_ports) = (watch::Sender::new(Arc::default()), watch::Sender::default());
        let interceptors = InterceptorView {
            service: AdminService {
                namespace: "keda".to_owned(),
                service: "interceptor-admin".to_owned(),
                port: 9090,
            },
            pods: pods.subscribe(),
            open_ports: open_ports.subscribe(),
        };
        autowire::run(context, config, interceptors, updates).await
    });
    sender
}

/// The objects that have an Event with this reason.
fn objects_with(server: &ApiServer, reason: &str) -> Vec<String> {
    let events = server.list(EVENTS).into_iter();
    let events = events.filter(|event| event["reason"] == reason);
    events
        .map(|event| event["regarding"]["name"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn fault_c13_a_service_that_is_seen_a_moment_after_its_scaled_object_gets_no_warning() {
    let server = ApiServer::start(&[EVENTS, SLICES, CONFIG_MAPS]).await;
    let updates = start(&server);
    updates
        .send(applied(&[scaled_object("late"), scaled_object("missing")]))
        .unwrap();
    updates.send(Update::Complete).unwrap();
    updates.send(applied(&[service("pods")])).unwrap();
    // The controller has reconciled without the Service `late` when it writes the slices of another one.
    updates
        .send(applied(&[scaled_object("other"), service("other")]))
        .unwrap();
    let wait = async {
        while server.list(SLICES).is_empty() {
            sleep(Duration::from_millis(5)).await;
        }
        updates.send(applied(&[service("late")])).unwrap();
        while objects_with(&server, "AutowireNoService").is_empty() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(30), wait).await.unwrap();
    assert_eq!(objects_with(&server, "AutowireNoService"), ["missing"]);
}
