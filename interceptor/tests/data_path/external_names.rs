//! Services of type ExternalName.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

use serde_json::json;
use tokio::net::TcpListener;

use crate::support::*;

fn external_name(interceptor: &Interceptor, host: &str, port: u16) {
    interceptor.manifests.route_with(
        "api",
        &json!({
            "target": {"service": "api", "port": port},
            "timeouts": {"readiness": "200ms"},
        }),
    );
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "api", "namespace": "shop"},
        "spec": {"type": "ExternalName", "externalName": host},
    });
    interceptor.manifests.write("api-service.json", &service.to_string());
}

/// An address of this machine that is not its loopback; asking for the way there sends nothing.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

async fn seen(interceptor: &Interceptor, address: &str) {
    until("the name", || async {
        (interceptor.view("api").await["ready_endpoints"] == json!([address])).then_some(())
    })
    .await;
}

#[tokio::test]
async fn requests_go_to_the_name_without_waiting() {
    let Some(own) = own_address() else {
        eprintln!("this machine has no address but its loopback, which is never dialled by name: nothing to test");
        return;
    };
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    serve_on(listener, saying("outside"));
    let interceptor = Interceptor::start().await;
    external_name(&interceptor, &own.to_string(), port);
    seen(&interceptor, &format!("{own}:{port}")).await;
    for _ in 0..2 {
        let response = interceptor.get("api.example", "/").await;
        assert_eq!(response.headers()["x-keda-http-cold-start"], "false");
        assert_eq!(response.text().await.unwrap(), "outside");
    }
    assert_eq!(interceptor.queue("api").await.1, 2);
}

#[tokio::test]
async fn a_name_for_the_interceptor_itself_is_not_dialled() {
    let app = says("private").await;
    let interceptor = Interceptor::start().await;
    external_name(&interceptor, "localhost", app.port());
    seen(&interceptor, &format!("localhost:{}", app.port())).await;
    let response = interceptor.get("api.example", "/").await;
    assert_eq!(response.status(), 502);
    let told = response.text().await.unwrap();
    assert!(!told.contains("private") && !told.contains("127.0.0.1"), "{told}");
}
