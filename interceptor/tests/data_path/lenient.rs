//! Requests that are right, and that HTTP libraries refuse.

use tokio::io::AsyncWriteExt;

use crate::support::*;

/// Answers with the target and the number of header lines it was sent.
async fn counting_app() -> std::net::SocketAddr {
    raw_app(|_, mut raw| async move {
        let head = raw.read_until("\r\n\r\n").await;
        let target = head.split(' ').nth(1).unwrap().to_owned();
        let lines = head
            .lines()
            .filter(|line| line.to_ascii_lowercase().starts_with("x-line-"));
        let body = format!("{target} {}", lines.count());
        raw.write(&format!(
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await;
    })
    .await
}

fn lines(number: usize) -> String {
    (0..number).map(|line| format!("X-Line-{line}: {line}\r\n")).collect()
}

#[tokio::test]
async fn fault_b4_targets_that_a_uri_does_not_contain_are_forwarded() {
    let interceptor = Interceptor::start().await;
    interceptor.serve("api", counting_app().await).await;
    for (sent, forwarded) in [
        ("/ad?m=\"a\"&<b>", "/ad?m=%22a%22&%3Cb%3E"),
        ("/a<b>`", "/a%3Cb%3E%60"),
        ("/{a}|b^c\\?{a}|b^c`", "/{a}|b^c\\?{a}|b^c`"),
        ("http://api.example/<>?\"", "/%3C%3E?%22"),
    ] {
        let mut client = interceptor
            .send(&format!("GET {sent} HTTP/1.1\r\nHost: api.example\r\n\r\n"))
            .await;
        let answer = client.read_until(&format!("{forwarded} 0")).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{sent}: {answer}");
    }
}

#[tokio::test]
async fn fault_options_for_an_absolute_uri_without_a_path_is_forwarded_for_the_whole_server() {
    let interceptor = Interceptor::start().await;
    interceptor.serve("api", counting_app().await).await;
    for (target, forwarded) in [
        ("http://api.example", "*"),
        ("HTTP://api.example:80", "*"),
        ("http://api.example/", "/"),
        ("http://api.example?a", "/?a"),
        ("http://api.example?<", "/?%3C"),
    ] {
        let request = format!("OPTIONS {target} HTTP/1.1\r\nHost: other.example\r\n\r\n");
        let answer = interceptor.send(&request).await.read_until(" 0").await;
        assert!(answer.ends_with(&format!("\r\n{forwarded} 0")), "{target}: {answer}");
    }
}

#[tokio::test]
async fn fault_b1_only_the_bytes_of_a_head_are_limited() {
    let interceptor = Interceptor::start().await;
    interceptor
        .serve(
            "api",
            app(
                axum::Router::new().fallback(|headers: http::HeaderMap, body: String| async move {
                    let lines = headers.keys().filter(|name| name.as_str().starts_with("x-line-"));
                    format!("{} lines, {body}.", lines.count())
                }),
            )
            .await,
        )
        .await;
    for number in [89, 90, 91, 95] {
        let head = format!(
            "POST / HTTP/1.1\r\nHost: api.example\r\n{}Content-Length: 2\r\n\r\nhi",
            lines(number)
        );
        let mut client = interceptor.send(&head).await;
        client.read_until(&format!("{number} lines, hi.")).await;
        // The connection goes on, also within one write.
        client.write(&[head.clone(), head].concat()).await;
        client.read_until(&format!("{number} lines, hi.")).await;
    }
}

#[tokio::test]
async fn fault_b1_a_thousand_lines_pass_in_any_pieces() {
    let interceptor = Interceptor::start().await;
    interceptor.serve("api", counting_app().await).await;
    let head = format!("GET /<> HTTP/1.1\r\n{}Host: api.example\r\n\r\n", lines(1000));
    for size in [1_000_000, 1_000, 7] {
        let mut client = interceptor.connect().await;
        for piece in head.as_bytes().chunks(size) {
            client.0.write_all(piece).await.unwrap();
            client.0.flush().await.unwrap();
        }
        client.read_until("/%3C%3E 1000").await;
    }
}

#[tokio::test]
async fn a_malformed_line_far_down_is_refused() {
    let interceptor = Interceptor::start().await;
    interceptor.serve("api", says("hello").await).await;
    for bad in [
        "no colon\r\n",
        "a b: c\r\n",
        "Content-Length : 3\r\n",
        "Host: other.example\r\n",
    ] {
        let head = format!("GET / HTTP/1.1\r\nHost: api.example\r\n{}{bad}\r\n", lines(120));
        let answer = interceptor.send(&head).await.read_to_end().await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{bad}: {answer}");
    }
}

/// Sends a request and a FIN in one packet, so that no pause of this thread comes between them.
async fn send_with_fin(interceptor: &Interceptor, request: &str) -> Raw {
    let mut client = interceptor.connect().await;
    socket2::SockRef::from(&client.0).set_tcp_cork(true).unwrap();
    client.write(request).await;
    client.0.shutdown().await.unwrap();
    client
}

#[tokio::test]
async fn fault_b8_a_request_before_a_half_close_is_answered() {
    let interceptor = Interceptor::start().await;
    interceptor.serve("api", says("hello").await).await;
    let get = "GET / HTTP/1.1\r\nHost: api.example\r\n\r\n";
    let post = "POST / HTTP/1.1\r\nHost: api.example\r\nContent-Length: 2\r\n\r\nhi";
    for (request, answers) in [
        (get.to_owned(), 1),
        (post.to_owned(), 1),
        ([get, post, get].concat(), 3),
    ] {
        let mut client = send_with_fin(&interceptor, &request).await;
        let answer = client.read_to_end().await;
        assert_eq!(answer.matches("HTTP/1.1 200").count(), answers, "{answer}");
        assert!(answer.ends_with("hello"), "{answer}");
    }
}

#[tokio::test]
async fn fault_b8_a_held_request_before_a_half_close_is_answered() {
    for request in [
        "GET / HTTP/1.1\r\nHost: api.example\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: api.example\r\nContent-Length: 2\r\n\r\nhi",
        "GET / HTTP/1.0\r\nHost: api.example\r\n\r\n",
    ] {
        let interceptor = Interceptor::start().await;
        interceptor.idle("api").await;
        let mut client = send_with_fin(&interceptor, request).await;
        interceptor.waiting("api", 1).await;
        interceptor.manifests.ready("api", &[says("hello").await]);
        let answer = client.read_to_end().await;
        assert!(answer.ends_with("hello"), "{request}: {answer}");
    }
}

#[tokio::test]
async fn fault_b10_header_names_are_written_in_the_case_that_is_set() {
    for (case, names) in [
        (
            "lower",
            ["x-mine: ", "x-forwarded-for: ", "content-type: ", "content-length: "],
        ),
        (
            "title",
            ["X-Mine: ", "X-Forwarded-For: ", "Content-Type: ", "Content-Length: "],
        ),
    ] {
        let interceptor = Interceptor::with(&[("KEDA_HTTP_HEADER_NAME_CASE", case)]).await;
        let app = raw_app(|_, mut raw| async move {
            let head = raw.read_until("\r\n\r\n").await;
            let length = head.len();
            raw.write(&format!(
                "HTTP/1.1 200 OK\r\nconnection: close\r\nCONTENT-TYPE: x\r\ncontent-length: {length}\r\n\r\n{head}"
            ))
            .await;
        })
        .await;
        interceptor.serve("api", app).await;
        let answer = interceptor
            .send("GET / HTTP/1.1\r\nHost: api.example\r\nx-MINE: 1\r\nConnection: close\r\n\r\n")
            .await
            .read_to_end()
            .await;
        for name in names {
            assert!(answer.contains(&format!("\r\n{name}")), "{name}: {answer}");
        }
    }
}
