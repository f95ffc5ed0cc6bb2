//! Clients that close their sending side: those that still wait, and those that leave.

use std::time::Duration;

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
        // Longer than the time in which a FIN is a half-close.
        tokio::time::sleep(Duration::from_millis(50)).await;
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
async fn fault_a_fin_behind_the_last_part_of_a_held_upload_is_a_half_close() {
    let many: String = (0..92).map(|number| format!("x-{number}: y\r\n")).collect();
    for lines in ["", &many] {
        for (framing, first, second) in [
            ("content-length: 10", "hello", "world"),
            (
                "transfer-encoding: chunked",
                "5\r\nhello\r\n",
                "5\r\nworld\r\n0\r\n\r\n",
            ),
            ("content-length: 10", "", "helloworld"),
            ("content-length: 10", "helloworld", ""),
        ] {
            let interceptor = Interceptor::with(&PATIENT).await;
            interceptor.idle("api").await;
            let mut client = interceptor
                .send(&format!(
                    "POST / HTTP/1.1\r\nhost: api.example\r\n{lines}{framing}\r\n\r\n"
                ))
                .await;
            if second.is_empty() {
                finish(&mut client, first).await;
                interceptor.waiting("api", 1).await;
            } else {
                client.write(first).await;
                interceptor.waiting("api", 1).await;
                tokio::time::sleep(Duration::from_millis(30)).await;
                finish(&mut client, second).await;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            interceptor.manifests.ready("api", &[says("hello").await]);
            let answer = client.read_to_end().await;
            assert!(answer.ends_with("hello"), "{framing} {first}: {answer}");
        }
    }
}

#[tokio::test]
async fn fault_a_fin_behind_an_upload_that_is_read_slowly_is_a_half_close() {
    const LENGTH: usize = 8 << 20;
    let app = raw_app(|_, mut raw| async move {
        raw.read_until("\r\n\r\n").await;
        let (mut left, mut space) = (LENGTH, vec![0; 1 << 20]);
        while left > space.len() {
            // An upload is watched after two seconds; this one takes four.
            tokio::time::sleep(Duration::from_millis(500)).await;
            raw.0.read_exact(&mut space).await.unwrap();
            left -= space.len();
        }
        raw.write(OK).await;
        raw.read_to_end().await;
    })
    .await;
    let interceptor = Interceptor::start().await;
    interceptor.serve("api", app).await;
    let mut client = interceptor
        .send(&format!(
            "POST / HTTP/1.1\r\nhost: api.example\r\ncontent-length: {LENGTH}\r\n\r\n"
        ))
        .await;
    finish(&mut client, &"x".repeat(LENGTH)).await;
    let answer = client.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
