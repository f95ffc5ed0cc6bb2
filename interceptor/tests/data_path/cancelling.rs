//! A client that goes away frees everything at once.

use crate::support::*;

#[tokio::test]
async fn a_held_request_whose_client_leaves_is_no_longer_pending() {
    let interceptor = Interceptor::start().await;
    interceptor.idle("api").await;
    let client = interceptor.send("GET / HTTP/1.1\r\nhost: api.example\r\n\r\n").await;
    interceptor.waiting("api", 1).await;
    client.leave();
    interceptor.waiting("api", 0).await;
    interceptor.pending("api", 0).await;
    let metrics = interceptor.metrics().await;
    assert!(metrics.contains(r#"code="499""#), "{metrics}");
}

#[tokio::test]
async fn a_held_upload_whose_client_leaves_is_no_longer_pending() {
    let interceptor = Interceptor::start().await;
    interceptor.idle("api").await;
    let mut client = interceptor
        .send("POST / HTTP/1.1\r\nhost: api.example\r\ncontent-length: 1000000\r\n\r\n")
        .await;
    client.write(&"x".repeat(100_000)).await;
    interceptor.waiting("api", 1).await;
    client.leave();
    interceptor.pending("api", 0).await;
    let metrics = interceptor.metrics().await;
    assert!(metrics.contains(r#"outcome="cancelled""#), "{metrics}");
}

#[tokio::test]
async fn a_held_http2_request_that_is_reset_is_no_longer_pending() {
    let interceptor = Interceptor::start().await;
    interceptor.idle("api").await;
    let mut client = super::protocols::http2_client(interceptor.bound.proxy).await;
    let request = http::Request::get("http://api.example/").body("".into()).unwrap();
    let held = tokio::spawn(client.send_request(request));
    interceptor.waiting("api", 1).await;
    held.abort();
    interceptor.pending("api", 0).await;
}

#[tokio::test]
async fn an_endpoint_learns_that_the_client_has_left() {
    let (ended, mut ends) = tokio::sync::mpsc::unbounded_channel();
    let app = raw_app(move |_, mut raw| {
        let ended = ended.clone();
        async move {
            raw.read_until("\r\n\r\n").await;
            ended.send("request").unwrap();
            raw.read_to_end().await;
            ended.send("end").unwrap();
        }
    })
    .await;
    let interceptor = Interceptor::start().await;
    interceptor.serve("api", app).await;
    let client = interceptor.send("GET / HTTP/1.1\r\nhost: api.example\r\n\r\n").await;
    assert_eq!(soon("the request", ends.recv()).await, Some("request"));
    client.leave();
    assert_eq!(soon("the connection's end", ends.recv()).await, Some("end"));
    interceptor.pending("api", 0).await;
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_a_response_is_counted_out() {
    let app = raw_app(|_, mut raw| async move {
        raw.read_until("\r\n\r\n").await;
        raw.write("HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\nfirst")
            .await;
        raw.read_to_end().await;
    })
    .await;
    let interceptor = Interceptor::start().await;
    interceptor.serve("api", app).await;
    let mut client = interceptor.send("GET / HTTP/1.1\r\nhost: api.example\r\n\r\n").await;
    client.read_until("first").await;
    assert_eq!(interceptor.queue("api").await.0, 1, "pending until the body has ended");
    client.leave();
    interceptor.pending("api", 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_c8_a_workload_goes_on_starting_when_its_callers_leave() {
    let interceptor = Interceptor::with(&[("KEDA_HTTP_READINESS_TIMEOUT", "20s")]).await;
    interceptor.idle("api").await;
    let admin = format!("http://{}", interceptor.bound.admin);
    let mut scaler = keda_http_proto::pending::pending_requests_client::PendingRequestsClient::connect(admin)
        .await
        .unwrap();
    let request = keda_http_proto::pending::WatchRequest {};
    let mut reports = scaler.watch(request).await.unwrap().into_inner();
    let client = interceptor.send("GET / HTTP/1.1\r\nhost: api.example\r\n\r\n").await;
    interceptor.waiting("api", 1).await;
    client.leave();
    let mut last = None;
    soon("nobody waits, and the workload starts", async {
        while last != Some((0, 0, true)) {
            let report = reports.message().await.unwrap().unwrap();
            last = report
                .targets
                .last()
                .map(|target| (target.pending, target.waiting, target.starting))
                .or(last);
        }
    })
    .await;
    interceptor.manifests.ready("api", &[says("hello").await]);
    soon("the workload has started", async {
        while last != Some((0, 0, false)) {
            let report = reports.message().await.unwrap().unwrap();
            last = report
                .targets
                .last()
                .map(|target| (target.pending, target.waiting, target.starting))
                .or(last);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_c8_a_start_is_given_up_when_a_held_request_would_have_been() {
    let interceptor = Interceptor::with(&[("KEDA_HTTP_READINESS_TIMEOUT", "500ms")]).await;
    interceptor.idle("api").await;
    let admin = format!("http://{}", interceptor.bound.admin);
    let mut scaler = keda_http_proto::pending::pending_requests_client::PendingRequestsClient::connect(admin)
        .await
        .unwrap();
    let request = keda_http_proto::pending::WatchRequest {};
    let mut reports = scaler.watch(request).await.unwrap().into_inner();
    let client = interceptor.send("GET / HTTP/1.1\r\nhost: api.example\r\n\r\n").await;
    interceptor.waiting("api", 1).await;
    client.leave();
    let mut seen = Vec::new();
    soon("the start is given up", async {
        while !(seen.contains(&true) && seen.last() == Some(&false)) {
            let report = reports.message().await.unwrap().unwrap();
            seen.extend(report.targets.iter().map(|target| target.starting));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_c8_a_start_ends_when_its_route_gets_another_target() {
    let interceptor = Interceptor::start().await;
    interceptor.serve("other", says("hello").await).await;
    interceptor.idle("api").await;
    let admin = format!("http://{}", interceptor.bound.admin);
    let mut scaler = keda_http_proto::pending::pending_requests_client::PendingRequestsClient::connect(admin)
        .await
        .unwrap();
    let request = keda_http_proto::pending::WatchRequest {};
    let mut reports = scaler.watch(request).await.unwrap().into_inner();
    let client = interceptor.send("GET / HTTP/1.1\r\nhost: api.example\r\n\r\n").await;
    interceptor.waiting("api", 1).await;
    client.leave();
    for (moment, starting) in [("nobody waits", true), ("the target has changed", false)] {
        let mut last = None;
        soon(moment, async {
            while last != Some((0, starting)) {
                let report = reports.message().await.unwrap().unwrap();
                last = report
                    .targets
                    .last()
                    .map(|target| (target.pending, target.starting))
                    .or(last);
            }
        })
        .await;
        let other = serde_json::json!({"target": {"service": "other", "port": 80}});
        interceptor.manifests.route_with("api", &other);
    }
}
