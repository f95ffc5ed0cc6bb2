//! HTTP/1.1 and HTTP/2 in and out, bodies, trailers, upgrades, headers.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::support::*;

pub const UPGRADE: &str = "GET /ws HTTP/1.1\r\nhost: api.example\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";

/// Accepts any upgrade, then echoes.
pub async fn upgrading_app() -> SocketAddr {
    raw_app(|_, mut raw| async move {
        let head = raw.read_until("\r\n\r\n").await.to_ascii_lowercase();
        assert!(
            head.contains("connection: upgrade") && head.contains("upgrade: websocket"),
            "{head}"
        );
        raw.write("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
            .await;
        let (mut read, mut write) = raw.0.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
    })
    .await
}

/// Tells what it was asked, as text.
async fn telling_app() -> SocketAddr {
    app(
        axum::Router::new().fallback(|request: axum::extract::Request| async move {
            let mut answer = format!("{:?} {} {}\n", request.version(), request.method(), request.uri());
            for (name, value) in request.headers() {
                answer += &format!("{name}: {}\n", value.to_str().unwrap());
            }
            answer
        }),
    )
    .await
}

/// Speaks HTTP/2 only: sends the body back in frames, with the length as a trailer.
pub async fn http2_echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = service_fn(|request: Request<Incoming>| async move {
                let authority = request.uri().authority().unwrap().to_string();
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", HeaderValue::from_static("0"));
                trailers.insert("x-length", HeaderValue::from(body.len()));
                let frames = [Ok::<_, Infallible>(Frame::data(body)), Ok(Frame::trailers(trailers))];
                let body = StreamBody::new(futures_util::stream::iter(frames));
                Ok::<_, Infallible>(Response::builder().header("x-authority", authority).body(body).unwrap())
            });
            let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection);
        }
    });
    address
}

pub async fn http2_client(address: SocketAddr) -> hyper::client::conn::http2::SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (client, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    client
}

#[tokio::test]
async fn the_app_sees_the_request_as_it_came_and_who_asked() {
    let interceptor = Interceptor::start().await;
    interceptor.serve("api", telling_app().await).await;
    let request = "GET /a%20b//c?x=1;y=%zz HTTP/1.1\r\nHost: API.example:8080\r\nX-Mine: 1\r\nConnection: close, x-secret\r\nX-Secret: 2\r\nX-Forwarded-For: 192.0.2.9\r\n\r\n";
    let answer = interceptor.send(request).await.read_to_end().await;
    assert!(answer.contains("HTTP/1.1 GET /a%20b//c?x=1;y=%zz"), "{answer}");
    assert!(answer.contains("host: API.example:8080"), "{answer}");
    assert!(answer.contains("x-mine: 1") && !answer.contains("x-secret"), "{answer}");
    assert!(answer.contains("x-forwarded-for: 192.0.2.9, 127.0.0.1"), "{answer}");
    assert!(
        answer.contains("x-forwarded-host: API.example:8080") && answer.contains("x-forwarded-proto: http"),
        "{answer}"
    );
    assert!(
        !answer.contains("accept-encoding"),
        "nothing is asked for in the client's name: {answer}"
    );
}

#[tokio::test]
async fn http2_in_becomes_http1_out() {
    let interceptor = Interceptor::start().await;
    interceptor.serve("api", telling_app().await).await;
    let mut client = http2_client(interceptor.bound.proxy).await;
    let request = Request::get("http://api.example/x?y").body(Full::from("")).unwrap();
    let response = client.send_request(request).await.unwrap();
    assert_eq!(response.version(), http::Version::HTTP_2);
    let answer = String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 GET /x?y") && answer.contains("host: api.example\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn http1_in_becomes_http2_out_where_the_service_says_so() {
    let interceptor = Interceptor::start().await;
    let app = http2_echo().await;
    interceptor.serve("api", app).await;
    interceptor.manifests.service("api", Some("kubernetes.io/h2c"));
    let response = until("an answer by HTTP/2", || async {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = client
            .post(interceptor.url("/x"))
            .header("host", "api.example")
            .body("hello")
            .send()
            .await
            .ok()?;
        (answer.status() == 200).then_some(answer)
    })
    .await;
    assert_eq!(response.headers()["x-authority"], "api.example");
    assert_eq!(response.text().await.unwrap(), "hello");
}

#[tokio::test]
async fn a_grpc_call_passes_with_its_trailers() {
    let interceptor = Interceptor::start().await;
    interceptor.manifests.route("api");
    interceptor.manifests.service("api", Some("kubernetes.io/h2c"));
    let app = http2_echo().await;
    interceptor.manifests.ready("api", &[app]);
    interceptor.sees("api", &[app]).await;
    let mut client = http2_client(interceptor.bound.proxy).await;
    for _ in 0..3 {
        let request = Request::post("http://api.example/service/Method")
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        let response = client
            .send_request(request.body(Full::from("message")).unwrap())
            .await
            .unwrap();
        let body = response.into_body().collect().await.unwrap();
        assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
        assert_eq!(body.trailers().unwrap()["x-length"], "7");
        assert_eq!(body.to_bytes(), "message");
    }
    interceptor.pending("api", 0).await;
}

#[tokio::test]
async fn a_grpc_client_gets_grpc_errors() {
    let interceptor = Interceptor::with(&[("KEDA_HTTP_READINESS_TIMEOUT", "10m")]).await;
    interceptor.idle("api").await;
    let mut client = http2_client(interceptor.bound.proxy).await;
    let call = |host: &str| {
        Request::post(format!("http://{host}/s/M"))
            .header("content-type", "application/grpc")
            .header("grpc-timeout", "50m")
            .body(Full::from(""))
            .unwrap()
    };
    let late = client.send_request(call("api.example")).await.unwrap();
    assert_eq!(
        (late.status().as_u16(), &late.headers()["grpc-status"]),
        (200, &HeaderValue::from_static("4"))
    );
    let unknown = client.send_request(call("nobody.example")).await.unwrap();
    assert_eq!(unknown.headers()["grpc-status"], "12");
}

#[tokio::test]
async fn bodies_stream_both_ways_at_once() {
    let app = raw_app(|_, mut raw| async move {
        raw.read_until("\r\n\r\n").await;
        raw.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
        for word in ["one", "two", "three"] {
            raw.read_until(word).await;
            raw.write(&format!("{:x}\r\n{word}\r\n", word.len())).await;
        }
        raw.write("0\r\n\r\n").await;
        raw.read_to_end().await;
    })
    .await;
    let interceptor = Interceptor::start().await;
    interceptor.serve("api", app).await;
    let mut client = interceptor
        .send("POST / HTTP/1.1\r\nhost: api.example\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    client.read_until("\r\n\r\n").await;
    for word in ["one", "two", "three"] {
        client.write(&format!("{:x}\r\n{word}\r\n", word.len())).await;
        client.read_until(word).await;
    }
}

#[tokio::test]
async fn trailers_pass_both_ways_on_http1() {
    let app = raw_app(|_, mut raw| async move {
        let request = raw.read_until("x-sum: 7\r\n\r\n").await;
        assert!(request.to_ascii_lowercase().contains("trailer: x-sum"), "{request}");
        raw.write(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-out\r\n\r\n2\r\nok\r\n0\r\nx-out: 8\r\n\r\n",
        )
        .await;
        raw.read_to_end().await;
    })
    .await;
    let interceptor = Interceptor::start().await;
    interceptor.serve("api", app).await;
    let request = "POST / HTTP/1.1\r\nhost: api.example\r\nte: trailers\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n1\r\na\r\n0\r\nx-sum: 7\r\n\r\n";
    let answer = interceptor.send(request).await.read_until("x-out: 8").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn a_megabyte_passes_unchanged_both_ways() {
    let echo = app(axum::Router::new().fallback(|body: axum::body::Body| async move { body })).await;
    let interceptor = Interceptor::start().await;
    interceptor.serve("api", echo).await;
    let body: Vec<u8> = (0..1_000_003_u32).map(|i| (i % 251) as u8).collect();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let response = client
        .post(interceptor.url("/"))
        .header("host", "api.example")
        .body(body.clone())
        .send()
        .await
        .unwrap();
    assert!(response.bytes().await.unwrap() == body);
}

#[tokio::test]
async fn a_head_request_and_an_empty_answer_keep_the_connection() {
    let interceptor = Interceptor::start().await;
    interceptor.serve("api", says("hello").await).await;
    let mut client = interceptor.send("HEAD / HTTP/1.1\r\nhost: api.example\r\n\r\n").await;
    let head = client.read_until("\r\n\r\n").await;
    assert!(head.contains("content-length: 5"), "{head}");
    client.write("GET / HTTP/1.1\r\nhost: api.example\r\n\r\n").await;
    client.read_until("hello").await;
}

#[tokio::test]
async fn requests_that_come_together_are_answered_in_order() {
    let interceptor = Interceptor::start().await;
    interceptor.serve("api", telling_app().await).await;
    let mut client = interceptor
        .send("GET /1 HTTP/1.1\r\nhost: api.example\r\n\r\nGET /2 HTTP/1.1\r\nhost: api.example\r\n\r\n")
        .await;
    let answers = client.read_until("GET /2").await;
    assert!(answers.find("GET /1") < answers.find("GET /2"));
}

#[tokio::test]
async fn a_waiting_body_is_not_asked_for_before_there_is_somebody_to_take_it() {
    let echo = app(axum::Router::new().fallback(|body: String| async move { body })).await;
    let interceptor = Interceptor::start().await;
    interceptor.idle("api").await;
    let mut client = interceptor
        .send("POST / HTTP/1.1\r\nhost: api.example\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n")
        .await;
    interceptor.waiting("api", 1).await;
    let mut byte = [0];
    assert!(
        client.0.try_read(&mut byte).is_err(),
        "no 100 while nobody takes the body"
    );
    interceptor.manifests.ready("api", &[echo]);
    client.read_until("HTTP/1.1 100 Continue\r\n\r\n").await;
    client.write("body").await;
    assert!(client.read_until("body").await.contains("HTTP/1.1 200"));
}

#[tokio::test]
async fn an_upgraded_connection_is_one_pipe_and_one_pending_request() {
    let interceptor = Interceptor::start().await;
    interceptor.idle("api").await;
    let mut client = interceptor.send(UPGRADE).await;
    interceptor.waiting("api", 1).await;
    interceptor.manifests.ready("api", &[upgrading_app().await]);
    let head = client.read_until("\r\n\r\n").await;
    assert!(
        head.starts_with("HTTP/1.1 101") && head.contains("x-keda-http-cold-start: true"),
        "{head}"
    );
    for message in ["\n\x01 anything at all \r\r\n\n", "and more"] {
        client.write(message).await;
        client.read_until(message).await;
    }
    assert_eq!(interceptor.queue("api").await.0, 1);
    drop(client);
    interceptor.pending("api", 0).await;
}

#[tokio::test]
async fn a_tunnel_ends_when_the_app_has_closed_and_the_client_goes_on_sending() {
    let interceptor = Interceptor::start().await;
    let app = raw_app(|_, mut raw| async move {
        raw.read_until("\r\n\r\n").await;
        raw.write("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nbye")
            .await;
    });
    interceptor.serve("api", app.await).await;
    let mut client = interceptor.send(UPGRADE).await;
    let read = client.read_to_end().await;
    assert!(read.starts_with("HTTP/1.1 101") && read.ends_with("bye"), "{read}");
    soon("a failed write", async {
        while client.0.write_all(b"still here").await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    interceptor.pending("api", 0).await;
}

#[tokio::test]
async fn a_refused_upgrade_ends_the_connection() {
    let interceptor = Interceptor::start().await;
    interceptor.serve("api", says("no").await).await;
    let answer = interceptor.send(UPGRADE).await.read_to_end().await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"),
        "{answer}"
    );
}

/// An app that answers 101 with these header lines, and sends back the head of the request.
async fn switching_app(lines: &'static str) -> SocketAddr {
    raw_app(move |_, mut raw| async move {
        let head = raw.read_until("\r\n\r\n").await.to_ascii_lowercase();
        raw.write(&format!("HTTP/1.1 101 Switching Protocols\r\n{lines}\r\n\r\n{head}"))
            .await;
        raw.read_to_end().await;
    })
    .await
}

#[tokio::test]
async fn an_app_may_only_switch_to_a_protocol_that_the_client_asked_for() {
    let interceptor = Interceptor::start().await;
    for lines in [
        "connection: upgrade\r\nupgrade: other",
        "connection: upgrade\r\nupgrade: websocket, other",
        "connection: upgrade\r\nupgrade: websocket\r\nupgrade: other",
        "connection: upgrade\r\nupgrade:",
        "connection: upgrade",
    ] {
        interceptor.serve("api", switching_app(lines).await).await;
        let answer = interceptor.send(UPGRADE).await.read_to_end().await;
        assert!(answer.starts_with("HTTP/1.1 502"), "{lines}: {answer}");
        interceptor.pending("api", 0).await;
    }
    let lines = "connection: upgrade\r\nupgrade: WebSocket";
    interceptor.serve("api", switching_app(lines).await).await;
    let answer = interceptor.send(UPGRADE).await.read_until("\r\n\r\n").await;
    assert!(
        answer.starts_with("HTTP/1.1 101") && answer.contains("upgrade: WebSocket"),
        "{answer}"
    );
}

#[tokio::test]
async fn every_upgrade_line_is_forwarded_and_the_response_keeps_no_other_connection_option() {
    let interceptor = Interceptor::start().await;
    let lines = "connection: x-hop, Upgrade\r\nupgrade: b\r\nx-hop: 1\r\nkeep-alive: 5\r\nx-kept: 2";
    interceptor.serve("api", switching_app(lines).await).await;
    let request = "GET / HTTP/1.1\r\nhost: api.example\r\nconnection: upgrade\r\nupgrade: a\r\nupgrade: b, c\r\n\r\n";
    let mut client = interceptor.send(request).await;
    let read = client.read_until("upgrade: b, c\r\n").await;
    let (head, request) = read.split_once("\r\n\r\n").unwrap();
    assert!(request.contains("upgrade: a\r\n"), "{request}");
    assert!(head.contains("upgrade: b") && head.contains("x-kept: 2"), "{head}");
    assert!(!head.contains("x-hop") && !head.contains("keep-alive"), "{head}");
}

#[tokio::test]
async fn an_upgrade_to_h2c_is_no_way_around_routing() {
    let interceptor = Interceptor::start().await;
    interceptor.serve("api", telling_app().await).await;
    let request = "GET / HTTP/1.1\r\nhost: api.example\r\nconnection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n";
    let answer = interceptor
        .send(request)
        .await
        .read_until("x-forwarded-proto: http\n")
        .await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && !answer.contains("upgrade: h2c") && !answer.contains("http2-settings"),
        "{answer}"
    );
}

#[tokio::test]
async fn an_http_1_0_client_is_served() {
    let interceptor = Interceptor::start().await;
    interceptor.serve("api", says("hello").await).await;
    let answer = interceptor
        .send("GET / HTTP/1.0\r\nhost: api.example\r\n\r\n")
        .await
        .read_to_end()
        .await;
    assert!(
        answer.starts_with("HTTP/1.0 200") && answer.ends_with("hello"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_refused_head_request_has_no_body_in_either_protocol() {
    let interceptor = Interceptor::start().await;
    let mut client = http2_client(interceptor.bound.proxy).await;
    let request = Request::head("http://nobody.example/").body(Full::from("")).unwrap();
    let response = client.send_request(request).await.unwrap();
    assert_eq!(response.status(), 404);
    assert_ne!(response.headers()["content-length"], "0");
    assert!(response.into_body().collect().await.unwrap().to_bytes().is_empty());
    let answer = interceptor
        .send("HEAD / HTTP/1.1\r\nhost: nobody.example\r\nconnection: close\r\n\r\n")
        .await
        .read_to_end()
        .await;
    assert!(
        answer.starts_with("HTTP/1.1 404") && answer.ends_with("\r\n\r\n"),
        "{answer}"
    );
}

/// What belongs to one connection or to the head of a message.
const NOT_FOR_TRAILERS: [&str; 8] = [
    "connection",
    "keep-alive",
    "upgrade",
    "transfer-encoding",
    "te",
    "host",
    "content-length",
    "x-forwarded-for",
];

#[tokio::test]
async fn fault_trailers_of_a_connection_stay_behind() {
    let names = NOT_FOR_TRAILERS.join(", ");
    let lines: String = NOT_FOR_TRAILERS.iter().map(|name| format!("{name}: 7\r\n")).collect();
    let response = format!(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: {names}, x-out\r\n\r\n2\r\nok\r\n0\r\n{lines}x-out: 8\r\n\r\n"
    );
    let app = raw_app(move |_, mut raw| {
        let response = response.clone();
        async move {
            let request = raw.read_until("x-sum: 7\r\n\r\n").await.to_ascii_lowercase();
            let trailers = request.rsplit("\r\n0\r\n").next().unwrap();
            assert_eq!(trailers, "x-sum: 7\r\n\r\n");
            raw.write(&response).await;
        }
    })
    .await;
    let interceptor = Interceptor::start().await;
    interceptor.serve("api", app).await;
    let request = format!(
        "POST / HTTP/1.1\r\nhost: api.example\r\nte: trailers\r\ntransfer-encoding: chunked\r\ntrailer: {names}, x-sum\r\n\r\n1\r\na\r\n0\r\n{lines}x-sum: 7\r\n\r\n"
    );
    let mut client = interceptor.send(&request).await;
    let answer = client.read_until("x-out: 8\r\n\r\n").await;
    assert!(answer.ends_with("\r\n0\r\nx-out: 8\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn fault_trailers_of_a_connection_stay_behind_before_an_http2_app() {
    let interceptor = Interceptor::start().await;
    interceptor.serve("api", http2_echo().await).await;
    interceptor.manifests.service("api", Some("kubernetes.io/h2c"));
    let request = "POST / HTTP/1.1\r\nhost: api.example\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nKeep-Alive: 1\r\n\r\n";
    until("an answer by HTTP/2", || async {
        let answer = interceptor.send(request).await.read_to_end().await;
        answer.contains("abc").then_some(())
    })
    .await;
}

#[tokio::test]
async fn fault_trailers_of_a_connection_stay_behind_before_an_http2_client() {
    let app = raw_app(|_, mut raw| async move {
        raw.read_until("\r\n\r\n").await;
        raw.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nConnection: close\r\n\r\n")
            .await;
    })
    .await;
    let interceptor = Interceptor::start().await;
    interceptor.serve("api", app).await;
    let mut client = http2_client(interceptor.bound.proxy).await;
    let request = Request::get("http://api.example/").body(Full::default()).unwrap();
    let response = soon("the response", client.send_request(request)).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "ok");
}
