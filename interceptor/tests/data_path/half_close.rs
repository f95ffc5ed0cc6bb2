//! Clients that close their sending side: those that still wait, and those that leave.

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::*;

const PATIENT: [(&str, &str); 1] = [("KEDA_HTTP_READINESS_TIMEOUT", "120s")];

/// Sends the end of a request and a FIN in one packet, so that no pause of this thread comes between them.
async fn finish(client: &mut Raw, end: &str) {
    SockRef::from(&client.0).set_tcp_cork(true).unwrap();
    client.write(end).await;
    client.0.shutdown().await.unwrap();
}

#[tokio::test]
async fn fault_a_reset_after_a_half_close_ends_the_held_request() {
    for request in [
        "GET / HTTP/1.1\r\nhost: api.example\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: api.example\r\ncontent-length: 2\r\n\r\nhi",
    ] {
        let interceptor = Interceptor::with(&PATIENT).await;
        interceptor.idle("api").await;
        let mut client = interceptor.connect().await;
        finish(&mut client, request).await;
        interceptor.waiting("api", 1).await;
        client.leave();
        interceptor.waiting("api", 0).await;
        interceptor.pending("api", 0).await;
    }
}

#[tokio::test]
async fn fault_a_fin_in_the_middle_of_a_held_upload_is_a_client_that_leaves() {
    let head = "POST / HTTP/1.1\r\nhost: api.example\r\ncontent-length: 1000\r\n\r\n";
    let half = "x".repeat(500);
    for (first, second) in [("", [head, &half].concat()), (head, half)] {
        let interceptor = Interceptor::with(&PATIENT).await;
        interceptor.idle("api").await;
        let mut client = interceptor.connect().await;
        if !first.is_empty() {
            client.write(first).await;
            interceptor.waiting("api", 1).await;
        }
        finish(&mut client, &second).await;
        let answer = client.read_to_end().await;
        assert!(answer.starts_with("HTTP/1.1 499"), "{answer}");
        interceptor.pending("api", 0).await;
        let metrics = interceptor.metrics().await;
        assert!(metrics.contains(r#"outcome="cancelled""#), "{metrics}");
    }
}

#[tokio::test]
async fn fault_a_fin_behind_a_held_upload_is_a_half_close() {
    let many: String = (0..92).map(|number| format!("x-{number}: y\r\n")).collect();
    for lines in ["", &many] {
        for (framing, first, second) in [
            ("content-length: 10", "", "helloworld"),
            ("content-length: 10", "helloworld", ""),
            (
                "transfer-encoding: chunked",
                "",
                "5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n",
            ),
        ] {
            let interceptor = Interceptor::with(&PATIENT).await;
            interceptor.idle("api").await;
            let mut client = interceptor.connect().await;
            let head = format!("POST / HTTP/1.1\r\nhost: api.example\r\n{lines}{framing}\r\n\r\n{first}");
            if second.is_empty() {
                finish(&mut client, &head).await;
                interceptor.waiting("api", 1).await;
            } else {
                client.write(&head).await;
                interceptor.waiting("api", 1).await;
                finish(&mut client, second).await;
            }
            interceptor.manifests.ready("api", &[says("hello").await]);
            let answer = client.read_to_end().await;
            assert!(answer.ends_with("hello"), "{framing} {first}: {answer}");
        }
    }
}

const UPGRADE: &str = "GET / HTTP/1.1\r\nhost: api.example\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";

#[tokio::test]
async fn fault_an_upgrade_that_is_refused_after_a_half_close_is_answered() {
    for early in ["", "early"] {
        for is_held in [false, true] {
            let interceptor = Interceptor::with(&PATIENT).await;
            let app = says("hello").await;
            interceptor.serve("api", app).await;
            if is_held {
                interceptor.manifests.ready("api", &[]);
                interceptor.sees("api", &[]).await;
            }
            let mut client = interceptor.connect().await;
            finish(&mut client, &[UPGRADE, early].concat()).await;
            if is_held {
                interceptor.waiting("api", 1).await;
                interceptor.manifests.ready("api", &[app]);
            }
            let answer = client.read_to_end().await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{early} {is_held}: {answer}");
            assert!(answer.ends_with("hello"), "{early} {is_held}: {answer}");
        }
    }
}

#[tokio::test]
async fn an_upgrade_that_is_accepted_after_a_half_close_carries_what_the_app_sends() {
    let app = raw_app(|_, mut raw| async move {
        raw.read_until("\r\n\r\n").await;
        raw.write("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n")
            .await;
        // The client's half-close goes through the tunnel.
        let received = raw.read_to_end().await;
        raw.write(&format!("after {received}.")).await;
    })
    .await;
    let interceptor = Interceptor::start().await;
    interceptor.serve("api", app).await;
    for early in ["", "early"] {
        let mut client = interceptor.connect().await;
        finish(&mut client, &[UPGRADE, early].concat()).await;
        let answer = client.read_to_end().await;
        assert!(answer.ends_with(&format!("after {early}.")), "{answer}");
    }
}

/// Requests with more behind them, so that hyper reads no further while they are held.
const AHEAD: [&str; 3] = [
    "\r\n",
    "GET / HT",
    "GET / HTTP/1.1\r\nhost: api.example\r\nconnection: close\r\n\r\n",
];

#[tokio::test]
async fn fault_a_hold_ends_when_a_client_that_has_sent_more_than_its_request_resets() {
    let get = "GET / HTTP/1.1\r\nhost: api.example\r\n\r\n";
    let interceptor = Interceptor::with(&PATIENT).await;
    interceptor.idle("api").await;
    let malformed = ["\n", "\0", "\rx", "GET / HTTP/1.1\n", "GET / HTTP/3.0\r\n"];
    let behind = AHEAD.into_iter().chain(malformed).map(|more| (get, more));
    for (request, more) in behind.chain([(UPGRADE, "early")]) {
        for is_later in [false, true] {
            let mut client = interceptor.connect().await;
            if is_later {
                client.write(request).await;
                interceptor.waiting("api", 1).await;
                client.write(more).await;
            } else {
                client.write(&[request, more].concat()).await;
                interceptor.waiting("api", 1).await;
            }
            client.leave();
            interceptor.waiting("api", 0).await;
            interceptor.pending("api", 0).await;
        }
    }
}

#[tokio::test]
async fn fault_a_held_request_before_more_and_a_half_close_is_answered() {
    for more in AHEAD {
        let interceptor = Interceptor::with(&PATIENT).await;
        interceptor.idle("api").await;
        let mut client = interceptor.connect().await;
        finish(
            &mut client,
            &format!("GET / HTTP/1.1\r\nhost: api.example\r\n\r\n{more}"),
        )
        .await;
        interceptor.waiting("api", 1).await;
        interceptor.manifests.ready("api", &[says("hello").await]);
        let answer = client.read_to_end().await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{more}: {answer}");
        assert!(answer.contains("hello"), "{more}: {answer}");
    }
}

#[tokio::test]
async fn fault_all_requests_before_a_half_close_are_answered_when_the_first_was_held() {
    // More than hyper reads at once; the second one is rewritten on its way to hyper.
    const REQUESTS: usize = 400;
    let interceptor = Interceptor::with(&PATIENT).await;
    interceptor.idle("api").await;
    let mut client = interceptor.connect().await;
    let get = "GET / HTTP/1.1\r\nhost: api.example\r\n\r\n";
    let rewritten = "GET /?a=< HTTP/1.1\r\nhost: api.example\r\n\r\n";
    let requests = [get, rewritten, &get.repeat(REQUESTS - 2)].concat();
    finish(&mut client, &requests).await;
    interceptor.waiting("api", 1).await;
    interceptor.manifests.ready("api", &[says("hello").await]);
    let answers = client.read_to_end().await;
    assert_eq!(answers.matches("HTTP/1.1 200").count(), REQUESTS);
}

#[tokio::test]
async fn fault_a_hold_ends_when_the_client_of_a_large_upload_leaves() {
    const LENGTH: usize = 1 << 20;
    let interceptor = Interceptor::with(&PATIENT).await;
    interceptor.idle("api").await;
    let chunked = format!("transfer-encoding: chunked\r\n\r\n{LENGTH:x}\r\n");
    for framing in [format!("content-length: {LENGTH}\r\n\r\n"), chunked] {
        for is_reset in [true, false] {
            let mut client = interceptor
                .send(&format!("POST / HTTP/1.1\r\nhost: api.example\r\n{framing}"))
                .await;
            interceptor.waiting("api", 1).await;
            client.write(&"x".repeat(LENGTH / 2)).await;
            client.write(&"x".repeat(LENGTH / 2 - 1)).await;
            if is_reset {
                client.leave();
            } else {
                drop(client);
            }
            interceptor.waiting("api", 0).await;
        }
    }
}

#[tokio::test]
async fn a_large_upload_that_was_held_arrives_whole() {
    for (length, framing) in [
        (3 << 20, "content-length"),
        (100_000, "content-length"),
        (3 << 20, "chunked"),
        (100_000, "chunked"),
    ] {
        let interceptor = Interceptor::with(&PATIENT).await;
        interceptor.idle("api").await;
        let head = "POST / HTTP/1.1\r\nhost: api.example\r\nconnection: close\r\n";
        let body: String = (0..length / 8).map(|number| format!("{number:08}")).collect();
        let length = body.len();
        let request = match framing {
            "chunked" => format!("{head}transfer-encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n"),
            _ => format!("{head}content-length: {length}\r\n\r\n{body}"),
        };
        let (mut read, mut write) = interceptor.connect().await.0.into_split();
        let writing = tokio::spawn(async move {
            write.write_all(request.as_bytes()).await.unwrap();
            write
        });
        interceptor.waiting("api", 1).await;
        let echo = axum::Router::new()
            .fallback(|body: String| async move { body })
            .layer(axum::extract::DefaultBodyLimit::disable());
        interceptor.manifests.ready("api", &[app(echo).await]);
        let mut answer = String::new();
        soon("the echo", read.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.ends_with(&body), "{length} {framing}: {}", answer.len());
        drop(writing.await.unwrap());
    }
}
