//! What one client may send on one HTTP/2 connection.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::*;

type Body = BoxBody<Bytes, Infallible>;

async fn connect(interceptor: &Interceptor) -> SendRequest<Body> {
    let stream = TcpStream::connect(interceptor.bound.proxy).await.unwrap();
    let (client, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    client
}

fn get(path: &str) -> Request<Body> {
    let uri = format!("http://api.example{path}");
    Request::get(uri).body(Full::default().boxed()).unwrap()
}

/// A body of this many DATA frames of five bytes.
fn post_in_small_frames(number: usize) -> Request<Body> {
    let frames = (0..number).map(|_| Ok(Frame::data(Bytes::from_static(b"12345"))));
    let body = StreamBody::new(futures_util::stream::iter(frames)).boxed();
    Request::post("http://api.example/").body(body).unwrap()
}

async fn read(response: Response<Incoming>) -> String {
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

#[tokio::test]
async fn a_held_request_in_small_data_frames_does_not_end_its_connection() {
    let interceptor = Interceptor::start().await;
    interceptor.idle("api").await;
    let mut client = connect(&interceptor).await;
    let post = tokio::spawn(client.send_request(post_in_small_frames(4_000)));
    interceptor.waiting("api", 1).await;
    let beside = tokio::spawn(client.send_request(get("/")));
    interceptor.waiting("api", 2).await;
    let length = app(axum::Router::new().fallback(|body: Bytes| async move { body.len().to_string() }));
    interceptor.manifests.ready("api", &[length.await]);
    let post = soon("the response to the POST", post).await.unwrap().unwrap();
    assert_eq!(read(post).await, "20000");
    let beside = soon("the response to the GET", beside).await.unwrap().unwrap();
    assert_eq!(read(beside).await, "0");
}

#[tokio::test]
async fn a_held_body_does_not_stop_the_bodies_beside_it() {
    let interceptor = Interceptor::start().await;
    interceptor.idle("idle").await;
    let length = app(axum::Router::new().fallback(|body: Bytes| async move { body.len().to_string() }));
    interceptor.serve("api", length.await).await;
    let mut client = connect(&interceptor).await;
    let body = |length| Full::new(Bytes::from(vec![b'x'; length])).boxed();
    let held = Request::post("http://idle.example/").body(body(2_000_000)).unwrap();
    let held = tokio::spawn(client.send_request(held));
    interceptor.waiting("idle", 1).await;
    let post = Request::post("http://api.example/").body(body(1_500_000)).unwrap();
    let response = soon("the response", client.send_request(post)).await.unwrap();
    assert_eq!(read(response).await, "1500000");
    held.abort();
}

/// h2 resets a request whose length is not the one that it declares.
async fn is_reset(client: &mut SendRequest<Body>) -> bool {
    let mut request = get("/");
    request
        .headers_mut()
        .insert("content-length", http::HeaderValue::from_static("5"));
    client.send_request(request).await.is_err()
}

#[tokio::test]
async fn a_connection_that_h2_ends_is_counted() {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    // An index that no header table has.
    const BAD_HEADERS: &[u8] = &[0, 0, 2, 1, 5, 0, 0, 0, 1, 0xff, 0x7f];
    // DATA of a stream that was never opened.
    const BAD_DATA: &[u8] = &[0, 0, 1, 0, 0, 0, 0, 0, 7, 0];
    let interceptor = Interceptor::start().await;
    for (number, frame) in [BAD_HEADERS, BAD_DATA].into_iter().enumerate() {
        let mut client = interceptor.connect().await;
        let bytes = [PREFACE, SETTINGS, frame].concat();
        client.0.write_all(&bytes).await.unwrap();
        client.read_to_end().await;
        let line = format!("interceptor_protocol_errors_total {}\n", number + 1);
        until(&line, || async {
            interceptor.metrics().await.contains(&line).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn bad_requests_among_good_ones_do_not_end_a_long_connection() {
    let interceptor = Interceptor::start().await;
    interceptor.serve("api", says("ok").await).await;
    let mut client = connect(&interceptor).await;
    for number in 0..1_100 {
        assert!(is_reset(&mut client).await, "{number}");
        let response = client.send_request(get("/")).await;
        assert_eq!(response.unwrap().status(), 200, "{number}");
    }
}

#[tokio::test]
async fn a_flood_of_bad_requests_ends_its_connection() {
    let interceptor = Interceptor::start().await;
    let mut client = connect(&interceptor).await;
    soon("the end of the connection", async {
        while client.ready().await.is_ok() {
            assert!(is_reset(&mut client).await);
        }
    })
    .await;
}
