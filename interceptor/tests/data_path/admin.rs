//! What the admin and metrics ports show.

use keda_http_interceptor::app::App;
use keda_http_interceptor::config::Config;
use keda_http_runtime::process::Process;
use serde_json::Value;

use crate::support::*;

#[tokio::test]
async fn the_queue_has_upstreams_shape() {
    let interceptor = Interceptor::start().await;
    interceptor.serve("api", says("hello").await).await;
    interceptor.get("api.example", "/").await;
    interceptor.pending("api", 0).await;
    let (status, text) = interceptor.admin("/queue").await;
    assert_eq!(
        (status, text.as_str()),
        (200, r#"{"shop/api":{"Concurrency":0,"RequestCount":1}}"#)
    );
}

#[tokio::test]
async fn settings_and_log_level_can_be_seen_and_the_level_changed() {
    let interceptor = Interceptor::start().await;
    let config: Value = serde_json::from_str(&interceptor.admin("/config").await.1).unwrap();
    assert_eq!(config["KEDA_HTTP_RESPONSE_HEADER_TIMEOUT"], "5m0s");
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://{}/log-level", interceptor.bound.admin);
    assert_eq!(
        client
            .put(&url)
            .body("no such level at all!")
            .send()
            .await
            .unwrap()
            .status(),
        400
    );
    assert_eq!(client.put(&url).body("info").send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn metrics_have_upstreams_names_and_labels() {
    let interceptor = Interceptor::start().await;
    interceptor.serve("api", says("hello").await).await;
    interceptor.get("api.example", "/").await;
    interceptor.pending("api", 0).await;
    let metrics = interceptor.metrics().await;
    for expected in [
        r#"interceptor_request_count_total{code="200",method="GET",route_name="api",route_namespace="shop",cold_start="false"} 1"#,
        r#"interceptor_request_duration_seconds_bucket{le="0.005",code="200""#,
        r#"interceptor_request_concurrency{route_name="api",route_namespace="shop"} 0"#,
        r#"target_info{service_name="keda-http-interceptor""#,
        "interceptor_routes 1",
    ] {
        assert!(metrics.contains(expected), "{expected} in\n{metrics}");
    }
}

#[tokio::test]
async fn a_strange_method_makes_no_series_of_its_own() {
    let interceptor = Interceptor::start().await;
    interceptor.serve("api", says("hello").await).await;
    let mut client = interceptor.send("BREW / HTTP/1.1\r\nhost: api.example\r\n\r\n").await;
    client.read_until("\r\n\r\n").await;
    interceptor.pending("api", 0).await;
    assert!(interceptor.metrics().await.contains(r#"method="_OTHER""#));
}

#[tokio::test]
async fn reports_are_streamed_on_the_admin_port() {
    use keda_http_proto::pending::WatchRequest;
    use keda_http_proto::pending::pending_requests_client::PendingRequestsClient;
    let interceptor = Interceptor::start().await;
    interceptor.idle("api").await;
    let mut client = PendingRequestsClient::connect(format!("http://{}", interceptor.bound.admin))
        .await
        .unwrap();
    let mut reports = client.watch(WatchRequest {}).await.unwrap().into_inner();
    let first = reports.message().await.unwrap().unwrap();
    assert!(first.complete && first.targets[0].key == "shop/api");
    let held = interceptor.send("GET / HTTP/1.1\r\nhost: api.example\r\n\r\n").await;
    soon("the wait is told", async {
        while reports.message().await.unwrap().unwrap().targets[0].waiting != 1 {}
    })
    .await;
    held.leave();
    soon("the end is told", async {
        while reports.message().await.unwrap().unwrap().targets[0].pending != 0 {}
    })
    .await;
    interceptor.shutdown.cancel();
    let end = soon("the end of the stream", async {
        while reports.message().await?.is_some() {}
        Ok::<_, tonic::Status>(())
    })
    .await;
    assert!(end.is_ok(), "a clean end: {end:?}");
    interceptor.ended().await.unwrap();
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for name in [
        "KEDA_HTTP_PROXY_PORT",
        "KEDA_HTTP_ADMIN_PORT",
        "OTEL_PROM_EXPORTER_PORT",
    ] {
        let manifests = Manifests::new();
        let all = [
            "KEDA_HTTP_PROXY_PORT",
            "KEDA_HTTP_ADMIN_PORT",
            "OTEL_PROM_EXPORTER_PORT",
        ];
        let ports = all.map(|other| (other, if other == name { port.as_str() } else { "0" }));
        let rest = [
            ("KEDA_HTTP_BIND_ADDRESS", "127.0.0.1"),
            ("KEDA_HTTP_MANIFESTS", manifests.path()),
        ];
        let environment = keda_http_runtime::env::Environment::of(ports.into_iter().chain(rest));
        let (config, _) = keda_http_runtime::settings::read(&environment, Config::read).unwrap();
        let error = App::bind(config, Process::default()).await.err().expect("a taken port");
        assert!(format!("{error:#}").contains(&port), "{error:#}");
    }
}
