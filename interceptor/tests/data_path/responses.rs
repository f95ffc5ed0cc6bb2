//! What apps answer that must not be passed on as it came, and early answers to uploads.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::AsyncWriteExt;

use crate::support::*;

/// An app that answers each request with these bytes and keeps the connection open, and how many connections it got.
async fn answers(bytes: impl Into<String>) -> (SocketAddr, Arc<AtomicUsize>) {
    let (bytes, connections) = (bytes.into(), Arc::new(AtomicUsize::new(0)));
    let counted = connections.clone();
    let app = raw_app(move |_, mut raw| {
        counted.fetch_add(1, Ordering::SeqCst);
        let bytes = bytes.clone();
        async move {
            loop {
                raw.read_until("\r\n\r\n").await;
                raw.write(&bytes).await;
            }
        }
    })
    .await;
    (app, connections)
}

async fn in_front_of(app: SocketAddr) -> Interceptor {
    let interceptor = Interceptor::with(&[("KEDA_HTTP_WORKERS", "1")]).await;
    interceptor.serve("api", app).await;
    interceptor
}

/// The whole answer to one request on a connection of its own.
async fn answer_to(interceptor: &Interceptor, method: &str) -> String {
    let head = format!("{method} / HTTP/1.1\r\nhost: api.example\r\nconnection: close\r\n\r\n");
    let answer = interceptor.send(&head).await.read_to_end().await;
    answer.to_ascii_lowercase()
}

#[tokio::test]
async fn fault_a6_a_length_beside_chunks_is_not_passed_on_and_the_connection_not_used_again() {
    let both = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let (app, connections) = answers(both).await;
    let interceptor = in_front_of(app).await;
    for number in 1..=3 {
        let answer = answer_to(&interceptor, "GET").await;
        assert!(
            answer.contains("hello") && !answer.contains("content-length"),
            "{answer}"
        );
        assert_eq!(connections.load(Ordering::SeqCst), number);
    }
}

#[tokio::test]
async fn fault_a6_a_coding_that_nobody_asked_for_is_a_bad_gateway() {
    let (app, _) = answers("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n").await;
    let interceptor = in_front_of(app).await;
    let answer = answer_to(&interceptor, "GET").await;
    assert!(answer.starts_with("http/1.1 502"), "{answer}");
    assert!(
        answer.contains("its transfer-encoding is not `chunked` alone"),
        "{answer}"
    );
}

#[tokio::test]
async fn fault_a7_one_length_is_passed_on_where_several_agree() {
    for lengths in ["content-length: 2, 2", "content-length: 2\r\ncontent-length: 2"] {
        let (to_get, _) = answers(format!("HTTP/1.1 200 OK\r\n{lengths}\r\n\r\nok")).await;
        let (to_head, _) = answers(format!("HTTP/1.1 200 OK\r\n{lengths}\r\n\r\n")).await;
        for (method, app) in [("GET", to_get), ("HEAD", to_head)] {
            let interceptor = in_front_of(app).await;
            let answer = answer_to(&interceptor, method).await;
            assert_eq!(answer.matches("content-length: 2\r\n").count(), 1, "{method}: {answer}");
            assert_eq!(answer.matches("content-length").count(), 1, "{method}: {answer}");
        }
    }
}

#[tokio::test]
async fn fault_a7_lengths_that_differ_are_a_bad_gateway() {
    for lengths in [
        "content-length: 2, 3",
        "content-length: 2\r\ncontent-length: 3",
        "content-length: +2",
        "content-length: 99999999999999999999",
    ] {
        for method in ["GET", "HEAD"] {
            let (app, _) = answers(format!("HTTP/1.1 200 OK\r\n{lengths}\r\n\r\n")).await;
            let answer = answer_to(&in_front_of(app).await, method).await;
            assert!(answer.starts_with("http/1.1 502"), "{method} {lengths}: {answer}");
        }
    }
}

/// Sends an upload whole, as many clients do, before it reads the answer.
async fn upload(interceptor: &Interceptor, host: &str) -> String {
    let size = 4 << 20;
    let head = format!("POST / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {size}\r\n\r\n");
    let mut client = interceptor.send(&head).await;
    let sent = client.0.write_all(&vec![b'x'; size]).await;
    let answer = client.read_to_end().await;
    assert!(sent.is_ok(), "{sent:?} after {answer:?}");
    answer
}

#[tokio::test]
async fn fault_b2_an_early_answer_to_an_upload_is_passed_on_though_the_app_closes() {
    let app = raw_app(|_, mut raw| async move {
        raw.read_until("\r\n\r\n").await;
        // The unread rest of the request makes the close a reset.
        raw.write("HTTP/1.1 413 Content Too Large\r\nconnection: close\r\ncontent-length: 8\r\n\r\ntoo much")
            .await;
    })
    .await;
    let interceptor = in_front_of(app).await;
    for number in 0..80 {
        let answer = upload(&interceptor, "api.example").await;
        assert!(
            answer.starts_with("HTTP/1.1 413") && answer.ends_with("too much"),
            "{number}: {answer}"
        );
    }
    interceptor.pending("api", 0).await;
}

#[tokio::test]
async fn fault_b2_an_answer_of_our_own_to_an_upload_can_be_read() {
    let interceptor = in_front_of(free_address()).await;
    for number in 0..20 {
        let answer = upload(&interceptor, "nobody.example").await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{number}: {answer}");
    }
}

#[tokio::test]
async fn a_refused_client_that_waits_for_100_continue_is_not_asked_for_its_body() {
    let interceptor = in_front_of(free_address()).await;
    let mut client = interceptor
        .send("POST / HTTP/1.1\r\nhost: nobody.example\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n")
        .await;
    let answer = client.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
}

#[tokio::test]
async fn fault_b9_what_a_proxy_must_mend_in_a_response_is_mended() {
    let (app, _) =
        answers("HTTP/1.1 200 OK\r\nx-folded: a\r\n  b\r\nx-spaced : c\r\ncontent-length: 2\r\n\r\nok").await;
    let answer = answer_to(&in_front_of(app).await, "GET").await;
    assert!(answer.starts_with("http/1.1 200") && answer.ends_with("ok"), "{answer}");
    let folded = answer.lines().find_map(|line| line.strip_prefix("x-folded:"));
    let words: Vec<_> = folded.unwrap_or_default().split_whitespace().collect();
    assert_eq!(words, ["a", "b"], "{answer}");
    assert!(answer.contains("x-spaced: c\r\n"), "{answer}");
}

#[tokio::test]
async fn fault_b9_a_response_that_cannot_be_read_says_what_is_wrong() {
    let large = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(500_000));
    for (response, reason) in [
        ("HTTP/1.1 200 OK\r\nx y: z\r\n\r\n", "invalid http header parsed"),
        ("HTTP/1.1 2OO OK\r\n\r\n", "invalid http status-code parsed"),
        (&large, "too large or has too many lines"),
    ] {
        let (app, _) = answers(response).await;
        let answer = answer_to(&in_front_of(app).await, "GET").await;
        assert!(answer.starts_with("http/1.1 502"), "{answer}");
        assert!(
            answer.contains("the workload's response cannot be passed on") && answer.contains(reason),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn fault_b6_every_answer_has_one_date() {
    let dated = "HTTP/1.1 200 OK\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\ncontent-length: 0\r\n\r\n";
    let (app, _) = answers(dated).await;
    let answer = answer_to(&in_front_of(app).await, "GET").await;
    assert!(answer.contains("date: sun, 06 nov 1994 08:49:37 gmt"), "{answer}");
    assert_eq!(answer.matches("date:").count(), 1, "{answer}");
    let (app, _) = answers(OK).await;
    let interceptor = in_front_of(app).await;
    assert_eq!(answer_to(&interceptor, "GET").await.matches("\r\ndate: ").count(), 1);
    let own = "GET / HTTP/1.1\r\nhost: nobody.example\r\nconnection: close\r\n\r\n";
    let own = interceptor.send(own).await.read_to_end().await.to_ascii_lowercase();
    assert!(own.starts_with("http/1.1 404") && own.contains("\r\ndate: "), "{own}");
}

#[tokio::test]
async fn fault_b7_grpc_goes_by_http2_where_the_service_says_nothing() {
    use crate::protocols::{http2_client, http2_echo};
    use http_body_util::{BodyExt, Full};
    let interceptor = in_front_of(http2_echo().await).await;
    let mut client = http2_client(interceptor.bound.proxy).await;
    for _ in 0..2 {
        let request = http::Request::post("http://api.example/echo.Echo/Say")
            .header("content-type", "application/grpc+proto")
            .body(Full::from("hello"))
            .unwrap();
        let response = soon("the answer", client.send_request(request)).await.unwrap();
        assert_eq!(response.status(), 200);
        let body = response.into_body().collect().await.unwrap();
        assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
        assert_eq!(body.to_bytes(), "hello");
    }
}

#[tokio::test]
async fn fault_b7_other_requests_stay_on_http1_beside_it() {
    use crate::protocols::http2_client;
    use http_body_util::{BodyExt, Full};
    let (app, _) = answers(OK).await;
    let interceptor = in_front_of(app).await;
    let mut client = http2_client(interceptor.bound.proxy).await;
    for content_type in ["application/grpc-web+proto", "application/json"] {
        let request = http::Request::post("http://api.example/")
            .header("content-type", content_type)
            .body(Full::from(""))
            .unwrap();
        let response = soon("the answer", client.send_request(request)).await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "ok");
    }
}

#[tokio::test]
async fn fault_b1_a_response_with_many_header_lines_is_passed_on() {
    let lines: String = (0..900).map(|number| format!("x-{number}: {number}\r\n")).collect();
    let (app, _) = answers(format!("HTTP/1.1 200 OK\r\n{lines}content-length: 2\r\n\r\nok")).await;
    let interceptor = in_front_of(app).await;
    // The first response shows what the endpoint is like; what must not be sent twice is safe from then on.
    for method in ["GET", "POST", "GET"] {
        let head =
            format!("{method} / HTTP/1.1\r\nhost: api.example\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        let answer = interceptor.send(&head).await.read_to_end().await.to_ascii_lowercase();
        assert!(
            answer.starts_with("http/1.1 200") && answer.ends_with("ok"),
            "{method}: {answer}"
        );
        assert!(
            answer.contains("x-0: 0\r\n") && answer.contains("x-899: 899\r\n"),
            "{method}"
        );
    }
}

#[tokio::test]
async fn fault_a_304_and_an_answer_to_head_keep_their_length() {
    for (method, status) in [
        ("GET", "304 Not Modified"),
        ("HEAD", "304 Not Modified"),
        ("HEAD", "200 OK"),
    ] {
        for length in [0_u64, 5, 1 << 40] {
            let (app, connections) = answers(format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n")).await;
            let interceptor = in_front_of(app).await;
            let request = format!("{method} / HTTP/1.1\r\nhost: api.example\r\n");
            let twice = format!("{request}\r\n{request}connection: close\r\n\r\n");
            let answer = interceptor.send(&twice).await.read_to_end().await.to_ascii_lowercase();
            let line = format!("content-length: {length}\r\n");
            assert_eq!(answer.matches(&line).count(), 2, "{method} {status}: {answer}");
            assert!(answer.ends_with("\r\n\r\n"), "{method} {status}: {answer}");
            assert_eq!(connections.load(Ordering::SeqCst), 1, "{method} {status}");
        }
    }
}
