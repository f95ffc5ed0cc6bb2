//! The client and other callers at the server.

use std::net::Ipv4Addr;
use std::time::Duration;

use keda_http_e2e_apps::spans::Spans;
use keda_http_e2e_apps::{client, server};
use keda_http_runtime::env::Environment;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn the_client_gets_the_servers_answer() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let environment = Environment::of([("SERVER", address.as_str()), ("RESPONSE_DELAY", "0")]);
    let settings = server::Settings::read(&environment).unwrap();
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(server::serve(listener, settings, Spans::new(None), shutdown.clone()));
    let settings = client::Settings::read(&environment).unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let spans = Spans::new(None);
    let called = client::call(&http, &settings, &spans);
    let status = tokio::time::timeout(Duration::from_secs(20), called)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(status, 200);
    shutdown.cancel();
    drop(http);
    serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_grpc_call_gets_its_messages_back() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}/any.Service/Method", listener.local_addr().unwrap());
    let settings = server::Settings::read(&Environment::of([])).unwrap();
    let _serving = tokio::spawn(server::serve(
        listener,
        settings,
        Spans::new(None),
        CancellationToken::new(),
    ));
    let http = reqwest::Client::builder()
        .no_proxy()
        .http2_prior_knowledge()
        .build()
        .unwrap();
    let message = b"\0\0\0\0\x05hello".as_slice();
    let call = http
        .post(url)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(message);
    let answer = tokio::time::timeout(Duration::from_secs(20), call.send())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(answer.headers()["content-type"], "application/grpc");
    assert_eq!(&answer.bytes().await.unwrap()[..], message);
}
