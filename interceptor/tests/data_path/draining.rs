//! Ending without losing a request.

use crate::support::*;

#[tokio::test]
async fn a_held_request_survives_the_drain_until_its_endpoint_is_ready() {
    let interceptor = Interceptor::start().await;
    interceptor.idle("api").await;
    let mut held = interceptor.send("GET / HTTP/1.1\r\nhost: api.example\r\n\r\n").await;
    interceptor.waiting("api", 1).await;
    interceptor.shutdown.cancel();
    until("no new connections", || async {
        tokio::net::TcpStream::connect(interceptor.bound.proxy).await.err()
    })
    .await;
    assert_eq!(interceptor.queue("api").await.0, 1, "it still reports");
    interceptor.manifests.ready("api", &[says("hello").await]);
    let answer = held.read_to_end().await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"),
        "{answer}"
    );
    interceptor.ended().await.unwrap();
}

#[tokio::test]
async fn requests_held_at_the_drain_timeout_are_asked_to_retry() {
    let interceptor = Interceptor::with(&[("KEDA_HTTP_DRAIN_TIMEOUT", "100ms")]).await;
    interceptor.idle("api").await;
    let mut held = interceptor.send("GET / HTTP/1.1\r\nhost: api.example\r\n\r\n").await;
    let unread = "POST / HTTP/1.1\r\nhost: api.example\r\ncontent-length: 9\r\n\r\nhalf";
    let mut with_body = interceptor.send(unread).await;
    let grpc = "POST / HTTP/1.1\r\nhost: api.example\r\ncontent-type: application/grpc\r\ncontent-length: 0\r\n\r\n";
    let mut grpc = interceptor.send(grpc).await;
    interceptor.waiting("api", 3).await;
    interceptor.shutdown.cancel();
    for client in [&mut held, &mut with_body] {
        let answer = client.read_to_end().await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert!(
            answer.contains("retry-after: 1") && answer.contains("connection: close"),
            "{answer}"
        );
    }
    let answer = grpc.read_to_end().await;
    assert!(answer.contains("grpc-status: 14"), "{answer}");
    interceptor.ended().await.unwrap();
}

#[tokio::test]
async fn what_a_workload_has_at_the_drain_timeout_is_cut() {
    let interceptor = Interceptor::with(&[("KEDA_HTTP_DRAIN_TIMEOUT", "100ms")]).await;
    let silent = raw_app(|_, mut client| async move {
        client.read_to_end().await;
    });
    interceptor.serve("api", silent.await).await;
    let mut sent = interceptor.send("GET / HTTP/1.1\r\nhost: api.example\r\n\r\n").await;
    interceptor.pending("api", 1).await;
    interceptor.shutdown.cancel();
    assert_eq!(sent.read_to_end().await, "");
    interceptor.ended().await.unwrap();
}

#[tokio::test]
async fn while_it_drains_it_is_not_ready_and_asks_clients_to_leave() {
    let interceptor = Interceptor::with(&[("KEDA_HTTP_SHUTDOWN_DELAY", "10m")]).await;
    interceptor.serve("api", says("hello").await).await;
    interceptor.shutdown.cancel();
    until("not ready", || async {
        (interceptor.admin("/readyz").await.0 == 503).then_some(())
    })
    .await;
    assert_eq!(interceptor.admin("/livez").await.0, 200);
    let mut client = interceptor.send("GET / HTTP/1.1\r\nhost: api.example\r\n\r\n").await;
    let answer = client.read_to_end().await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"),
        "{answer}"
    );
}

#[tokio::test]
async fn an_idle_interceptor_ends_at_once() {
    let interceptor = Interceptor::start().await;
    interceptor.serve("api", says("hello").await).await;
    let mut kept = interceptor.send("GET / HTTP/1.1\r\nhost: api.example\r\n\r\n").await;
    kept.read_until("hello").await;
    interceptor.stop().await.unwrap();
}

#[tokio::test]
async fn a_websocket_is_waited_for_and_cut_at_the_drain_timeout() {
    let interceptor = Interceptor::with(&[("KEDA_HTTP_DRAIN_TIMEOUT", "200ms")]).await;
    interceptor.serve("api", super::protocols::upgrading_app().await).await;
    let mut client = interceptor.send(super::protocols::UPGRADE).await;
    client.read_until("\r\n\r\n").await;
    interceptor.shutdown.cancel();
    until("no new connections", || async {
        tokio::net::TcpStream::connect(interceptor.bound.proxy).await.err()
    })
    .await;
    client.write("still here").await;
    client.read_until("still here").await;
    assert_eq!(client.read_to_end().await, "");
    interceptor.ended().await.unwrap();
}
