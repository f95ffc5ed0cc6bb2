//! Requests that try to be read in two ways: between framing and proxy, between us and the app.

use std::sync::Arc;

use parking_lot::Mutex;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop, prop_oneof};
use proptest::test_runner::{TestCaseError, TestRunner};
use tokio::io::AsyncWriteExt;
use tokio::runtime::Handle;

use crate::support::*;

type Paths = Arc<Mutex<Vec<String>>>;

/// An app that notes the path of each request.
async fn noting_app() -> (std::net::SocketAddr, Paths) {
    let paths = Paths::default();
    let seen = paths.clone();
    let router = axum::Router::new().fallback(move |request: axum::extract::Request| async move {
        seen.lock().push(request.uri().path().to_owned());
        "ok"
    });
    (app(router).await, paths)
}

/// What is sent on one connection, which the interceptor must end.
async fn answer_to(interceptor: &Interceptor, bytes: &[u8]) -> String {
    let mut client = interceptor.connect().await;
    client.0.write_all(bytes).await.unwrap();
    client.read_to_end().await
}

/// Requests that framing must refuse; read as HTTP, each reaches `/smuggled`.
const SMUGGLED: [&str; 4] = [
    "GET /smuggled HTTP/1.1\nHost: api.example\r\n\r\n",
    "POST /smuggled HTTP/1.1\r\nHost: api.example\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "GET /smuggled HTTP/1.1\r\nHost: api.example\r\nHost: other.example\r\n\r\n",
    "POST /smuggled HTTP/1.1\r\nHost: api.example\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
];

#[tokio::test]
async fn fault_a1_an_upgrade_is_decided_once_for_framing_and_proxy() {
    let interceptor = Interceptor::start().await;
    let (app, paths) = noting_app().await;
    interceptor.serve("api", app).await;
    for connection in [&b"\xff, upgrade"[..], b"upgrade, \xff", b"\xff\r\nConnection: upgrade"] {
        for smuggled in SMUGGLED {
            let head = [
                b"GET /first HTTP/1.1\r\nHost: api.example\r\nConnection: ",
                connection,
                b"\r\nUpgrade: websocket\r\n\r\n",
                smuggled.as_bytes(),
            ]
            .concat();
            let answer = answer_to(&interceptor, &head).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            assert_eq!(answer.matches("HTTP/1.1 200").count(), 1, "{answer}");
        }
    }
    assert!(paths.lock().iter().all(|path| path == "/first"), "{:?}", paths.lock());
}

/// One option of a list: often a word that matters, sometimes any bytes that a header may contain.
fn option() -> impl Strategy<Value = Vec<u8>> {
    let any_byte = any::<u8>().prop_filter("not of a value", |byte| !byte.is_ascii_control() && *byte != 0x7f);
    prop_oneof![
        4 => prop::sample::select(vec!["upgrade", "Upgrade", "UPGRADE ", "\tupgrade", "keep-alive", "x", ""])
            .prop_map(|word| word.as_bytes().to_vec()),
        2 => prop::sample::select(vec!["websocket", "h2c", "H2C", "h2c/1", "x"]).prop_map(|word| word.as_bytes().to_vec()),
        1 => prop::collection::vec(any_byte, 0..3),
        1 => Just(b"\xff".to_vec()),
    ]
}

fn field() -> impl Strategy<Value = Vec<u8>> {
    let name = prop::sample::select(vec!["Connection", "connection", "Upgrade", "UPGRADE", "X-Other"]);
    (name, prop::collection::vec(option(), 1..4))
        .prop_map(|(name, options)| [name.as_bytes(), b": ", &options.join(&b","[..]), b"\r\n"].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_framing_does_not_check_is_never_read_as_http() {
    let interceptor = Interceptor::start().await;
    let (app, paths) = noting_app().await;
    interceptor.serve("api", app).await;
    let request = (
        prop::collection::vec(field(), 0..5),
        any::<bool>(),
        prop::sample::select(vec!["1.0", "1.1"]),
        prop::sample::select(&SMUGGLED[..]),
    );
    let handle = Handle::current();
    let check = |(fields, with_body, version, smuggled): (Vec<Vec<u8>>, bool, &str, &str)| {
        let body = if with_body {
            "Content-Length: 2\r\n\r\nhi"
        } else {
            "\r\n"
        };
        let head = format!("POST /first HTTP/{version}\r\nHost: api.example\r\n");
        let bytes = [head.as_bytes(), &fields.concat(), body.as_bytes(), smuggled.as_bytes()].concat();
        let answer = tokio::task::block_in_place(|| handle.block_on(answer_to(&interceptor, &bytes)));
        let smuggled = paths.lock().iter().any(|path| path == "/smuggled");
        if smuggled || answer.matches("200 OK").count() > 1 {
            return Err(TestCaseError::fail(format!("{}: {answer}", bytes.escape_ascii())));
        }
        Ok(())
    };
    TestRunner::new(ProptestConfig::with_cases(300))
        .run(&request, check)
        .unwrap();
}

#[tokio::test]
async fn fault_a4_a_target_that_is_no_path_does_not_pick_the_route() {
    let interceptor = Interceptor::start().await;
    let (app, paths) = noting_app().await;
    interceptor.serve("api", app).await;
    for line in [
        "GET api.example",
        "GET x",
        "OPTIONS *x",
        "GET api.example:80",
        "GET *",
        "PRI *",
        "GET /\u{fc}",
        "GET /?\u{fc}",
        "GET ftp://api.example/",
        "GET ?x",
        "GET /a#b",
        "GET http://user@api.example/",
        "GET http://user:password@api.example/",
        "GET http://user@evil@api.example/",
        "GET http://@api.example/",
        "OPTIONS http://user@api.example",
    ] {
        let request = format!("{line} HTTP/1.1\r\nHost: api.example\r\n\r\n");
        let answer = answer_to(&interceptor, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{line}: {answer}");
    }
    assert!(paths.lock().is_empty(), "{:?}", paths.lock());
}

#[tokio::test]
async fn fault_a5_a_host_that_is_none_is_refused() {
    let interceptor = Interceptor::start().await;
    let (app, paths) = noting_app().await;
    interceptor.serve("api", app).await;
    interceptor.manifests.service("api", Some("kubernetes.io/h2c"));
    for host in [
        "",
        "a b",
        "x, evil",
        "a/b",
        "[::1",
        "api.example:x",
        "api.example@x",
        "%61pi.example",
    ] {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let answer = answer_to(&interceptor, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{host}: {answer}");
    }
    assert!(paths.lock().is_empty(), "{:?}", paths.lock());
}

#[tokio::test]
async fn fault_a3_http2_with_two_hosts_is_refused() {
    let interceptor = Interceptor::start().await;
    let (app, paths) = noting_app().await;
    interceptor.serve("api", app).await;
    let mut client = crate::protocols::http2_client(interceptor.bound.proxy).await;
    // In this version hyper's client sends no `:authority`.
    let request = http::Request::get("/").version(http::Version::HTTP_11);
    let request = request.header("host", "api.example").header("host", "other.example");
    let response = client.send_request(request.body("".into()).unwrap()).await.unwrap();
    assert_eq!(response.status(), 400);
    assert!(paths.lock().is_empty(), "{:?}", paths.lock());
}

#[tokio::test]
async fn fault_b5_an_http_1_0_request_without_host_is_for_the_catch_all() {
    let interceptor = Interceptor::start().await;
    let rules = serde_json::json!({"rules": [{"hosts": ["*"]}]});
    interceptor.manifests.route_with("api", &rules);
    let app = says("hello").await;
    interceptor.manifests.ready("api", &[app]);
    interceptor.sees("api", &[app]).await;
    let answer = answer_to(&interceptor, b"OPTIONS / HTTP/1.0\r\n\r\n").await;
    assert!(
        answer.starts_with("HTTP/1.0 200") && answer.ends_with("hello"),
        "{answer}"
    );
}

/// An HTTP/2 frame.
fn frame(kind: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    frame_with(kind, 0, stream, payload)
}

fn frame_with(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
}

/// The error codes of all GOAWAY frames.
fn goaways(mut bytes: &[u8]) -> Vec<u8> {
    let mut codes = Vec::new();
    while let [0, high, low, kind, _, _, _, _, _, rest @ ..] = bytes {
        let (payload, others) = rest.split_at(usize::from(u16::from_be_bytes([*high, *low])).min(rest.len()));
        if *kind == 7 {
            codes.push(payload[7]);
        }
        bytes = others;
    }
    codes
}

async fn protocol_errors(interceptor: &Interceptor, number: usize) {
    let line = format!("interceptor_protocol_errors_total {number}\n");
    until(&line, || async {
        interceptor.metrics().await.contains(&line).then_some(())
    })
    .await;
}

#[tokio::test]
async fn fault_a9_floods_of_frames_end_with_enhance_your_calm() {
    let interceptor = Interceptor::start().await;
    for (name, flood) in [
        ("PING", frame(6, 0, &[7; 8])),
        ("SETTINGS", frame(4, 0, &[])),
        ("WINDOW_UPDATE", frame(8, 0, &[0, 0, 0, 1])),
        ("PRIORITY", frame(2, 1, &[0, 0, 0, 3, 16])),
        ("unknown", frame(0xfa, 1, &[0; 3])),
    ] {
        let client = interceptor.connect().await;
        let (mut read, mut write) = client.0.into_split();
        let bytes = [
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            &frame(4, 0, &[])[..],
            &flood.repeat(3_000),
        ]
        .concat();
        let writing = tokio::spawn(async move { write.write_all(&bytes).await.map(|()| write) });
        let mut answer = Vec::new();
        let _ = soon("the end", tokio::io::AsyncReadExt::read_to_end(&mut read, &mut answer)).await;
        let _ = writing.await.unwrap();
        assert_eq!(goaways(&answer), [11], "{name}");
    }
    protocol_errors(&interceptor, 5).await;
}

#[tokio::test]
async fn fault_a_malformed_http2_request_is_counted() {
    let interceptor = Interceptor::start().await;
    // Without its pseudo-headers, only `a: b`.
    let malformed = |stream: u8| frame_with(1, 5, stream, &[0, 1, b'a', 1, b'b']);
    let mut client = interceptor.connect().await;
    let preface = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(4, 0, &[])[..]].concat();
    let bytes = [preface, malformed(1), malformed(3), malformed(5)].concat();
    client.0.write_all(&bytes).await.unwrap();
    // They are counted while the connection is open.
    protocol_errors(&interceptor, 3).await;
    drop(client);
}

#[tokio::test]
async fn fault_b1_what_is_refused_is_counted() {
    let interceptor = Interceptor::start().await;
    for request in [
        "GET / HTTP/1.1\nHost: a\r\n\r\n".to_owned(),
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "a: b\r\n".repeat(5_000)),
        format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(70_000)),
    ] {
        let answer = answer_to(&interceptor, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    protocol_errors(&interceptor, 4).await;
}

#[tokio::test]
async fn fault_a_preface_that_ends_early_does_not_keep_a_worker_busy() {
    const PREFACE: &str = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let interceptor = Interceptor::with(&[("KEDA_HTTP_WORKERS", "1")]).await;
    interceptor.serve("api", says("hello").await).await;
    for length in [1, 4, 23] {
        let mut client = interceptor.send(&PREFACE[..length]).await;
        client.0.shutdown().await.unwrap();
        client.read_to_end().await;
        assert_eq!(interceptor.get("api.example", "/").await.status(), 200, "{length}");
    }
}

/// Header lines of this length each.
fn lines(number: usize, length: usize) -> String {
    format!("x: {}\r\n", "y".repeat(length - 5)).repeat(number)
}

#[tokio::test]
async fn fault_a_head_beyond_the_limit_is_refused_however_many_lines_it_has() {
    const LIMIT: usize = 64 * 1024;
    let interceptor = Interceptor::start().await;
    // An app without limits of its own.
    let app = raw_app(|_, mut raw| async move {
        raw.read_until("\r\n\r\n").await;
        raw.write(OK).await;
    })
    .await;
    interceptor.serve("api", app).await;
    let plain = "GET / HTTP/1.1\r\nhost: api.example\r\nconnection: close\r\n";
    let encoded = "GET /< HTTP/1.1\r\nhost: api.example\r\nconnection: close\r\n";
    let mut refused = 0;
    for (first, many) in [
        (plain, String::new()),
        (plain, lines(9, 6_700)),
        (plain, lines(88, 600)),
        (plain, lines(88, 600) + &lines(9, 1_000)),
        (plain, lines(1_800, 30)),
        (encoded, lines(9, 6_700)),
        (encoded, lines(1_800, 30)),
    ] {
        // The percent-encoded form is two bytes larger, which hyper counts.
        for (length, status) in [(LIMIT - 2, 200), (LIMIT + 1, 431), (LIMIT + 50_000, 431)] {
            let rest = length - first.len() - many.len() - "\r\n".len();
            let request = format!("{first}{many}{}\r\n", lines(1, rest));
            assert_eq!(request.len(), length);
            for size in [request.len(), 1_000] {
                let mut client = interceptor.connect().await;
                for piece in request.as_bytes().chunks(size) {
                    // It may be refused before its end.
                    let _ = client.0.write_all(piece).await;
                }
                let answer = client.read_to_end().await;
                let expected = format!("HTTP/1.1 {status}");
                assert!(
                    answer.starts_with(&expected),
                    "{length} in {size}, {}: {answer}",
                    many.len()
                );
                assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
                refused += usize::from(status == 431);
            }
        }
    }
    protocol_errors(&interceptor, refused).await;
}

#[tokio::test]
async fn fault_a_form_feed_is_refused_before_and_after_line_90() {
    let interceptor = Interceptor::start().await;
    interceptor.serve("api", says("hello").await).await;
    for number in [0, 120] {
        let lines = "x: y\r\n".repeat(number);
        let request = format!("GET / HTTP/1.1\r\nhost: api.example\r\n{lines}x: \x0cab\r\nconnection: close\r\n\r\n");
        let answer = answer_to(&interceptor, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{number}: {answer}");
    }
}

#[tokio::test]
async fn fault_an_invalid_host_is_refused_beside_an_absolute_target() {
    let interceptor = Interceptor::start().await;
    interceptor.serve("api", says("hello").await).await;
    for (host, status) in [("a b", 400), ("a/b", 400), ("", 400), ("other.example", 200)] {
        let request = format!("GET http://api.example/ HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        let answer = answer_to(&interceptor, request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{host}: {answer}");
    }
}
