//! Traffic of autowired Services, by listeners of their own.

use std::net::SocketAddr;

use keda_http_proto::pending::WatchRequest;
use keda_http_proto::pending::pending_requests_client::PendingRequestsClient;
use serde_json::{Value, json};

use crate::support::{Interceptor, Raw, free_address, says, soon, until};

fn listeners(entries: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "default", "name": "keda-http-listeners"},
        "data": entries,
    })
}

fn scaled_object(namespace: &str) -> Value {
    json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"namespace": namespace, "name": "api"},
        "spec": {"scaleTargetRef": {"name": "api"}, "triggers": [{"type": "kedify-http", "metadata": {
            "hosts": "api", "service": "api", "fallbackService": "api-pods", "port": "80", "trafficAutowire": "service",
            "scalingMetric": "requestRate",
        }}]},
    })
}

fn pods(namespace: &str, address: SocketAddr) -> [Value; 2] {
    [
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"namespace": namespace, "name": "api-pods"},
            "spec": {"ports": [{"port": 80}]},
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"namespace": namespace, "name": "api-pods-1", "labels": {"kubernetes.io/service-name": "api-pods"}},
            "addressType": "IPv4", "ports": [{"port": address.port()}],
            "endpoints": [{"addresses": [address.ip().to_string()]}],
        }),
    ]
}

fn write(interceptor: &Interceptor, name: &str, items: &Value) {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
    interceptor.manifests.write(&format!("{name}.json"), &list.to_string());
}

async fn ask(port: u16, host: &str) -> Option<(u16, String)> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .pool_max_idle_per_host(0)
        .build()
        .unwrap();
    let response = client
        .get(format!("http://127.0.0.1:{port}/"))
        .header("host", host)
        .send()
        .await
        .ok()?;
    Some((response.status().as_u16(), response.text().await.ok()?))
}

#[tokio::test]
async fn two_namespaces_with_the_same_host_get_their_own_traffic() {
    let interceptor = Interceptor::start().await;
    let (shop, blog) = (says("shop").await, says("blog").await);
    let (shop_port, blog_port) = (free_address().port(), free_address().port());
    for (namespace, app) in [("shop", shop), ("blog", blog)] {
        let [service, slice] = pods(namespace, app);
        write(
            &interceptor,
            namespace,
            &json!([scaled_object(namespace), service, slice]),
        );
    }
    let entries = json!({shop_port.to_string(): "shop/api:80", blog_port.to_string(): "blog/api:80"});
    write(&interceptor, "listeners", &json!([listeners(&entries)]));
    let answered =
        |text: &'static str| move |answer: Option<(u16, String)>| answer.filter(|(_, body)| body == text).map(drop);
    until("the shop's", || async { answered("shop")(ask(shop_port, "api").await) }).await;
    until("the blog's", || async {
        answered("blog")(ask(blog_port, "api:80").await)
    })
    .await;
    // A plain Service does not look at hosts; the other namespace's traffic it never gets.
    assert_eq!(ask(shop_port, "10.0.0.7").await, Some((200, "shop".to_owned())));
}

#[tokio::test]
async fn open_ports_are_reported_to_scalers_and_closed_when_unused() {
    let interceptor = Interceptor::start().await;
    let port = free_address().port();
    let admin = format!("http://{}", interceptor.bound.admin);
    let mut scaler = PendingRequestsClient::connect(admin).await.unwrap();
    let mut reports = scaler.watch(WatchRequest {}).await.unwrap().into_inner();
    let first = soon("the first report", reports.message()).await.unwrap().unwrap();
    assert_eq!(first.listeners.unwrap().ports, [0_u32; 0], "none are open");
    write(
        &interceptor,
        "listeners",
        &json!([listeners(&json!({port.to_string(): "shop/api:80"}))]),
    );
    let open = soon("the report of the port", reports.message())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(open.listeners.unwrap().ports, [u32::from(port)]);
    assert_eq!(ask(port, "api").await.unwrap().0, 404, "nobody autowires it");
    write(&interceptor, "listeners", &json!([listeners(&json!({}))]));
    let closed = soon("the report of its end", reports.message()).await.unwrap().unwrap();
    assert!(closed.listeners.unwrap().ports.is_empty());
    until("the port is closed", || async {
        ask(port, "api").await.is_none().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_reported_and_harms_no_other() {
    let interceptor = Interceptor::start().await;
    let taken_port = says("somebody else").await.port();
    let port = free_address().port();
    let entries = json!({taken_port.to_string(): "shop/web:80", port.to_string(): "shop/api:80"});
    write(&interceptor, "listeners", &json!([listeners(&entries)]));
    until("the other port", || async { ask(port, "api").await.map(drop) }).await;
    let ready = until("the problem", || async {
        let (_, ready) = interceptor.admin("/readyz?verbose").await;
        ready.contains("listeners").then_some(ready)
    })
    .await;
    assert!(ready.contains(&taken_port.to_string()), "{ready}");
}

/// A connection to one of its listeners, once that is open.
async fn connect(port: u16) -> Raw {
    until("the listener", || async {
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await;
        stream.ok().map(Raw)
    })
    .await
}

const GET: &str = "GET / HTTP/1.1\r\nhost: api\r\n\r\n";

#[tokio::test]
async fn a_listener_that_closes_lets_what_is_there_finish_and_asks_clients_to_leave() {
    let interceptor = Interceptor::start().await;
    let port = free_address().port();
    let [service, _] = pods("shop", free_address());
    write(&interceptor, "shop", &json!([scaled_object("shop"), service]));
    write(
        &interceptor,
        "listeners",
        &json!([listeners(&json!({port.to_string(): "shop/api:80"}))]),
    );
    let (mut idle, mut held) = (connect(port).await, connect(port).await);
    interceptor.idle("ready").await;
    held.write(GET).await;
    interceptor.waiting("api", 1).await;
    write(&interceptor, "listeners", &json!([listeners(&json!({}))]));
    assert_eq!(idle.read_to_end().await, "", "who has asked for nothing is closed");
    until("no new connections", || async {
        tokio::net::TcpStream::connect(("127.0.0.1", port)).await.err()
    })
    .await;
    let [service, slice] = pods("shop", says("late").await);
    write(&interceptor, "shop", &json!([scaled_object("shop"), service, slice]));
    let answer = held.read_to_end().await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close") && answer.ends_with("late"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_port_that_is_given_to_another_service_takes_nothing_more_for_the_former_one() {
    let interceptor = Interceptor::start().await;
    for (namespace, app) in [("shop", says("shop").await), ("blog", says("blog").await)] {
        let [service, slice] = pods(namespace, app);
        write(
            &interceptor,
            namespace,
            &json!([scaled_object(namespace), service, slice]),
        );
    }
    let port = free_address().port();
    let give = |service: &str| {
        let entries = json!({port.to_string(): service});
        write(&interceptor, "listeners", &json!([listeners(&entries)]));
    };
    give("shop/api:80");
    until("the shop's", || async {
        ask(port, "api").await.filter(|(_, body)| body == "shop")
    })
    .await;
    give("blog/api:80");
    until("the blog's", || async {
        ask(port, "api").await.filter(|(_, body)| body == "blog")
    })
    .await;
    for _ in 0..20 {
        assert_eq!(ask(port, "api").await, Some((200, "blog".to_owned())));
    }
}

#[tokio::test]
async fn listeners_close_with_the_interceptor_and_what_they_hold_is_drained() {
    let interceptor = Interceptor::start().await;
    let [service, _] = pods("shop", free_address());
    write(&interceptor, "shop", &json!([scaled_object("shop"), service]));
    let port = free_address().port();
    write(
        &interceptor,
        "listeners",
        &json!([listeners(&json!({port.to_string(): "shop/api:80"}))]),
    );
    let mut held = connect(port).await;
    interceptor.idle("ready").await;
    held.write(GET).await;
    interceptor.waiting("api", 1).await;
    interceptor.shutdown.cancel();
    until("no new connections", || async {
        tokio::net::TcpStream::connect(("127.0.0.1", port)).await.err()
    })
    .await;
    let [service, slice] = pods("shop", says("late").await);
    write(&interceptor, "shop", &json!([scaled_object("shop"), service, slice]));
    let answer = held.read_to_end().await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("late"),
        "{answer}"
    );
    interceptor.ended().await.unwrap();
}

#[tokio::test]
async fn a_service_whose_pods_are_the_interceptor_itself_makes_no_loop() {
    let interceptor = Interceptor::start().await;
    let port = free_address().port();
    let [service, slice] = pods("shop", SocketAddr::from(([127, 0, 0, 1], port)));
    write(
        &interceptor,
        "shop",
        &json!([
            scaled_object("shop"),
            service,
            slice,
            listeners(&json!({port.to_string(): "shop/api:80"}))
        ]),
    );
    let answer = until("the loop is broken", || async {
        ask(port, "api").await.filter(|(status, _)| *status != 404)
    })
    .await;
    assert!(answer.0 == 508 && answer.1.contains("forwarding loop"), "{answer:?}");
    interceptor.pending("api", 0).await;
}
