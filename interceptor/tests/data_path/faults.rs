//! Apps that refuse, reset, hang, close early; clients that send what is no HTTP.

use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::support::*;

#[tokio::test]
async fn a_dead_endpoint_beside_a_live_one_costs_no_request() {
    let interceptor = Interceptor::start().await;
    let (dead, live) = (free_address(), says("alive").await);
    interceptor.manifests.route("api");
    interceptor.manifests.ready("api", &[dead, live]);
    interceptor.sees("api", &[dead, live]).await;
    for _ in 0..20 {
        assert_eq!(interceptor.get("api.example", "/").await.text().await.unwrap(), "alive");
    }
}

#[tokio::test]
async fn an_app_that_never_listens_is_a_bad_gateway_within_the_routes_time() {
    let interceptor = Interceptor::start().await;
    interceptor
        .manifests
        .route_with("api", &json!({"timeouts": {"readiness": "200ms"}}));
    interceptor.manifests.ready("api", &[free_address()]);
    let response = interceptor.get("api.example", "/").await;
    assert_eq!(response.status(), 502);
    let text = response.text().await.unwrap();
    assert!(
        text.contains("the workload could not be reached") && text.contains("attempts"),
        "{text}"
    );
    interceptor.pending("api", 0).await;
}

#[tokio::test]
async fn an_app_that_does_not_answer_is_a_gateway_timeout() {
    let hanging = raw_app(|_, mut raw| async move {
        raw.read_to_end().await;
    })
    .await;
    let interceptor = Interceptor::start().await;
    interceptor
        .manifests
        .route_with("api", &json!({"timeouts": {"responseHeader": "100ms"}}));
    interceptor.manifests.ready("api", &[hanging]);
    interceptor.sees("api", &[hanging]).await;
    let response = interceptor.get("api.example", "/").await;
    assert_eq!(response.status(), 504);
    assert_eq!(
        response.headers()["x-keda-http-cold-start"],
        "false",
        "it got as far as the endpoint"
    );
    interceptor.pending("api", 0).await;
}

#[tokio::test]
async fn a_long_upload_is_no_slow_answer() {
    let app = raw_app(|_, mut raw| async move {
        raw.read_until("last").await;
        raw.write(OK).await;
        raw.read_to_end().await;
    })
    .await;
    let interceptor = Interceptor::start().await;
    interceptor
        .manifests
        .route_with("api", &json!({"timeouts": {"responseHeader": "300ms"}}));
    interceptor.manifests.ready("api", &[app]);
    interceptor.sees("api", &[app]).await;
    let mut client = interceptor
        .send("POST / HTTP/1.1\r\nhost: api.example\r\ncontent-length: 8\r\n\r\n")
        .await;
    for part in ["fi", "rs"] {
        client.write(part).await;
        tokio::time::sleep(std::time::Duration::from_millis(250)).await;
    }
    client.write("last").await;
    assert!(client.read_until("ok").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn the_whole_requests_deadline_ends_a_slow_answer_and_a_slow_body() {
    let app = raw_app(|_, mut raw| async move {
        if raw.read_until("\r\n\r\n").await.contains("/body") {
            raw.write("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nsome").await;
        }
        raw.read_to_end().await;
    })
    .await;
    let interceptor = Interceptor::start().await;
    interceptor
        .manifests
        .route_with("api", &json!({"timeouts": {"request": "200ms"}}));
    interceptor.manifests.ready("api", &[app]);
    interceptor.sees("api", &[app]).await;
    assert_eq!(interceptor.get("api.example", "/header").await.status(), 504);
    let body = interceptor.get("api.example", "/body").await;
    assert!(soon("the cut", body.bytes()).await.is_err());
    interceptor.pending("api", 0).await;
}

/// An app whose keep-alive always ends while the second request of a connection is on its way.
async fn app_that_closes_idle_connections() -> std::net::SocketAddr {
    raw_app(|_, mut raw| async move {
        raw.read_until("\r\n\r\n").await;
        raw.write(OK).await;
        raw.read_until("\r\n\r\n").await;
    })
    .await
}

#[tokio::test]
async fn fault_b3_a_connection_the_app_closes_after_no_time_costs_no_request() {
    let interceptor = Interceptor::with(&[("KEDA_HTTP_WORKERS", "1")]).await;
    interceptor.serve("api", app_that_closes_idle_connections().await).await;
    for _ in 0..50 {
        assert_eq!(interceptor.get("api.example", "/").await.status(), 200);
    }
    let metrics = interceptor.metrics().await;
    assert!(!metrics.contains("interceptor_upstream_replays_total 0"), "{metrics}");
}

#[tokio::test]
async fn fault_b3_nor_do_many_that_it_closes_at_once() {
    let interceptor = Interceptor::with(&[("KEDA_HTTP_WORKERS", "1")]).await;
    interceptor.serve("api", app_that_closes_idle_connections().await).await;
    let gets = || futures_util::future::join_all((0..16).map(|_| interceptor.get("api.example", "/")));
    for _ in 0..10 {
        assert!(gets().await.iter().all(|response| response.status() == 200));
    }
}

#[tokio::test]
async fn fault_b3_an_endpoint_is_not_ejected_for_closing_an_idle_connection() {
    let (closing, other) = (app_that_closes_idle_connections().await, says("other").await);
    let interceptor = Interceptor::with(&[("KEDA_HTTP_WORKERS", "1")]).await;
    interceptor.manifests.route("api");
    interceptor.manifests.ready("api", &[closing, other]);
    interceptor.sees("api", &[closing, other]).await;
    let mut from_closing = 0;
    for _ in 0..60 {
        let text = interceptor.get("api.example", "/").await.text().await.unwrap();
        from_closing += u32::from(text == "ok");
    }
    assert!(from_closing > 5, "{from_closing} of 60");
}

#[tokio::test]
async fn what_the_app_may_have_seen_is_not_sent_twice_when_that_matters() {
    let app = raw_app(|_, mut raw| async move {
        raw.read_until("\r\n\r\n").await;
    })
    .await;
    let interceptor = Interceptor::start().await;
    interceptor.serve("api", app).await;
    let mut client = interceptor
        .send("POST / HTTP/1.1\r\nhost: api.example\r\ncontent-length: 0\r\n\r\n")
        .await;
    assert!(client.read_until("\r\n\r\n").await.starts_with("HTTP/1.1 502"));
    assert!(
        interceptor
            .metrics()
            .await
            .contains("interceptor_upstream_replays_total 0")
    );
    interceptor.pending("api", 0).await;
}

#[tokio::test]
async fn an_app_that_always_resets_is_a_bad_gateway() {
    let app = raw_app(|_, raw| async move {
        raw.0.set_zero_linger().unwrap();
        drop(raw);
    })
    .await;
    let interceptor = Interceptor::start().await;
    interceptor
        .manifests
        .route_with("api", &json!({"timeouts": {"request": "5s"}}));
    interceptor.manifests.ready("api", &[app]);
    interceptor.sees("api", &[app]).await;
    let status = interceptor.get("api.example", "/").await.status().as_u16();
    assert!(matches!(status, 502 | 504), "{status}");
    interceptor.pending("api", 0).await;
}

#[tokio::test]
async fn a_response_that_breaks_off_is_not_passed_off_as_whole() {
    let app = raw_app(|_, mut raw| async move {
        raw.read_until("\r\n\r\n").await;
        raw.write("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").await;
    })
    .await;
    let interceptor = Interceptor::start().await;
    interceptor.serve("api", app).await;
    let response = interceptor.get("api.example", "/").await;
    assert!(response.bytes().await.is_err());
    interceptor.pending("api", 0).await;
}

#[tokio::test]
async fn malformed_requests_are_refused_closed_and_never_forwarded() {
    let app = raw_app(|_, _| async { panic!("nothing may be forwarded") }).await;
    let interceptor = Interceptor::start().await;
    interceptor.serve("api", app).await;
    let large = format!(
        "GET / HTTP/1.1\r\nhost: api.example\r\nx: {}\r\n\r\n",
        "x".repeat(100_000)
    );
    let table = [
        ("bare LF", "GET / HTTP/1.1\nhost: api.example\n\n", "400"),
        (
            "two lengths",
            "POST / HTTP/1.1\r\nhost: api.example\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
            "400",
        ),
        (
            "length and chunks",
            "POST / HTTP/1.1\r\nhost: api.example\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            "400",
        ),
        (
            "two hosts",
            "GET / HTTP/1.1\r\nhost: api.example\r\nhost: other\r\n\r\n",
            "400",
        ),
        ("no host", "GET / HTTP/1.1\r\n\r\n", "400"),
        (
            "folded line",
            "GET / HTTP/1.1\r\nhost: api.example\r\nx: a\r\n b\r\n\r\n",
            "400",
        ),
        (
            "space before colon",
            "GET / HTTP/1.1\r\nhost : api.example\r\n\r\n",
            "400",
        ),
        ("large head", large.as_str(), "431"),
        (
            "tunnel",
            "CONNECT api.example:80 HTTP/1.1\r\nhost: api.example\r\n\r\n",
            "405",
        ),
    ];
    for (what, request, status) in table {
        let mut client = interceptor.connect().await;
        // A refusal may come before everything is sent.
        let _ = client.0.write_all(request.as_bytes()).await;
        let answer = client.read_to_end().await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{what}: {answer:?}");
    }
    assert_eq!(interceptor.queue("api").await, (0, 0));
}

#[tokio::test]
async fn a_bad_chunk_ends_the_forwarded_request_unfinished() {
    let (ended, mut told) = tokio::sync::mpsc::unbounded_channel();
    let app = raw_app(move |_, mut raw| {
        let ended = ended.clone();
        async move {
            ended.send(raw.read_to_end().await).unwrap();
        }
    })
    .await;
    let interceptor = Interceptor::start().await;
    interceptor.serve("api", app).await;
    let mut client = interceptor
        .send("POST / HTTP/1.1\r\nhost: api.example\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
        .await;
    interceptor.pending("api", 1).await;
    client.write("zz\r\n").await;
    let answer = client.read_to_end().await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    let forwarded = soon("the app's connection ending", told.recv()).await.unwrap();
    assert!(!forwarded.ends_with("0\r\n\r\n"), "{forwarded}");
    interceptor.pending("api", 0).await;
}

#[tokio::test]
async fn a_slow_head_is_cut_and_an_idle_connection_is_not() {
    let interceptor = Interceptor::with(&[("KEDA_HTTP_REQUEST_HEAD_TIMEOUT", "100ms")]).await;
    interceptor.serve("api", says("hello").await).await;
    let mut silent = interceptor.connect().await;
    let mut preface = interceptor.send("PRI * HT").await;
    let mut head = interceptor.send("GET / HT").await;
    assert_eq!(preface.read_to_end().await, "");
    assert_eq!(head.read_to_end().await, "");
    silent.write("GET / HTTP/1.1\r\nhost: api.example\r\n\r\n").await;
    silent.read_until("hello").await;
}

#[tokio::test]
async fn an_endpoint_that_resets_is_avoided_for_one_that_answers() {
    let resetting = raw_app(|_, raw| async move {
        raw.0.set_zero_linger().unwrap();
        drop(raw);
    })
    .await;
    let interceptor = Interceptor::start().await;
    let healthy = says("well").await;
    interceptor.manifests.route("api");
    interceptor.manifests.ready("api", &[resetting, healthy]);
    interceptor.sees("api", &[resetting, healthy]).await;
    for _ in 0..20 {
        assert_eq!(interceptor.get("api.example", "/").await.text().await.unwrap(), "well");
    }
}

#[tokio::test]
async fn a_fallback_that_is_down_too_does_not_hold_the_request_for_ever() {
    let interceptor = Interceptor::start().await;
    interceptor.manifests.service("spare", None);
    let spec = json!({
        "timeouts": {"readiness": "50ms", "request": "300ms"},
        "coldStart": {"fallback": {"service": {"name": "spare", "port": 80}}},
    });
    interceptor.manifests.route_with("api", &spec);
    interceptor.sees("api", &[]).await;
    assert_eq!(interceptor.get("api.example", "/").await.status(), 504);
    interceptor.pending("api", 0).await;
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_is_not_asked_for_again() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    let app = raw_app(move |_, mut raw| {
        let counter = counter.clone();
        async move {
            raw.read_until("\r\n\r\n").await;
            counter.fetch_add(1, Ordering::SeqCst);
            raw.write("HTTP/1.1 what is this\r\n\r\n").await;
            raw.read_to_end().await;
        }
    })
    .await;
    let interceptor = Interceptor::start().await;
    interceptor.serve("api", app).await;
    let response = interceptor.get("api.example", "/").await;
    assert_eq!(response.status(), 502);
    assert!(
        response
            .text()
            .await
            .unwrap()
            .contains("invalid HTTP status-code parsed")
    );
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_switch_of_protocols_that_nobody_asked_for_is_a_bad_gateway() {
    let app = raw_app(|_, mut raw| async move {
        raw.read_until("\r\n\r\n").await;
        raw.write("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n")
            .await;
        raw.read_to_end().await;
    })
    .await;
    let interceptor = Interceptor::start().await;
    interceptor.serve("api", app).await;
    let mut client = interceptor.send("GET / HTTP/1.1\r\nhost: api.example\r\n\r\n").await;
    let answer = client.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
}

#[tokio::test]
async fn a_client_that_resets_a_stuck_upload_frees_it() {
    let stuck = raw_app(|_, mut raw| async move {
        raw.read_until("\r\n\r\n").await;
        std::future::pending::<()>().await;
    })
    .await;
    let interceptor = Interceptor::start().await;
    interceptor.serve("api", stuck).await;
    let mut client = interceptor
        .send("POST / HTTP/1.1\r\nhost: api.example\r\ncontent-length: 100000000\r\n\r\n")
        .await;
    let chunk = vec![b'x'; 1 << 20];
    // As much as the buffers on the way take.
    while tokio::time::timeout(std::time::Duration::from_millis(300), client.0.write_all(&chunk))
        .await
        .is_ok()
    {}
    interceptor.pending("api", 1).await;
    // A close would wait behind what the full buffers do not take; a client that is killed resets.
    client.0.set_zero_linger().unwrap();
    drop(client);
    interceptor.pending("api", 0).await;
}
