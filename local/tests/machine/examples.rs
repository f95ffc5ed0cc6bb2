//! Each example of the top-level directory `examples`, as a user runs it.

use std::path::Path;

use futures_util::{SinkExt, StreamExt};
use keda_http_local::Key;
use keda_http_local::app::Local;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::fixture::{client, client_builder, queue, run};

/// Runs it; nothing must be wrong with it.
async fn example(name: &str) -> Local {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name);
    assert!(directory.join("README.md").exists(), "{name} has no README");
    let (local, printed) = run(&directory).await;
    assert!(!printed.contains("warning:"), "see above");
    local
}

async fn get(local: &Local, host: &str, path: &str) -> (u16, String) {
    let url = format!("http://127.0.0.1:{}{path}", local.listening().proxy);
    let response = client().get(url).header("host", host).send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

#[tokio::test]
async fn web() {
    let local = example("web").await;
    let (status, body) = get(&local, "hello.local", "/").await;
    assert_eq!(status, 200, "{body}");
    assert!(body.starts_with("Hello from hello-"), "{body}");
    local.stop().await;
}

#[tokio::test]
async fn grpc() {
    let local = example("grpc").await;
    let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{}", local.listening().proxy)).unwrap();
    let channel = endpoint
        .origin("http://grpc.local".parse().unwrap())
        .connect()
        .await
        .unwrap();
    let request = HealthCheckRequest { service: String::new() };
    let response = HealthClient::new(channel).check(request).await.unwrap();
    assert_eq!(response.into_inner().status(), ServingStatus::Serving);
    local.stop().await;
}

#[tokio::test]
async fn websocket() {
    let local = example("websocket").await;
    let stream = TcpStream::connect(("127.0.0.1", local.listening().proxy))
        .await
        .unwrap();
    let (mut socket, _) = tokio_tungstenite::client_async("ws://websocket.local/ws", stream)
        .await
        .unwrap();
    socket.send(Message::text("hello")).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("hello"));
    socket.close(None).await.unwrap();
    local.stop().await;
}

#[tokio::test]
async fn several_triggers() {
    let local = example("several-triggers").await;
    for path in ["/", "/upload"] {
        assert_eq!(get(&local, "shop.local", path).await.0, 200, "{path}");
    }
    let queue = queue(&local).await;
    for target in ["default/shop:pages", "default/shop:uploads"] {
        let entry = queue
            .get(target)
            .unwrap_or_else(|| panic!("{target} is not in {queue:?}"));
        assert_eq!(entry.request_count, 1, "{target}");
    }
    local.stop().await;
}

/// A cluster leads the Service's names to the interceptors; here the client does.
#[tokio::test]
async fn autowire() {
    let local = example("autowire").await;
    let interceptor = (std::net::Ipv4Addr::LOCALHOST, local.listening().proxy).into();
    let names = ["api", "api.default", "api.default.svc.cluster.local"];
    let mut seen = Vec::new();
    for name in names {
        let client = client_builder().resolve(name, interceptor).build().unwrap();
        let response = client.get(format!("http://{name}/")).send().await.unwrap();
        let was_cold = response.headers()["x-keda-http-cold-start"] == "true";
        let body = response.text().await.unwrap();
        assert!(body.starts_with("Hello from api-"), "{body}");
        seen.push(was_cold);
    }
    assert_eq!(seen, [true, false, false], "the first request wakes the app");
    assert_eq!(queue(&local).await.get("default/api").unwrap().request_count, 3);
    let status = local.kubelet().status(&Key::new("default", "api")).unwrap();
    assert_eq!(status.borrow().history, [0, 1]);
    local.stop().await;
}
