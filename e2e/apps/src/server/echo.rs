//! What comes back as it was sent: messages of WebSockets and of gRPC calls.

use axum::body::Body;
use axum::extract::ws::{Message, WebSocket};
use axum::response::Response;
use futures_util::{StreamExt, stream};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use http_body::Frame;
use http_body_util::{BodyStream, StreamBody};

/// Whether a request is a gRPC call.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    kind.is_some_and(|kind| kind.starts_with(b"application/grpc"))
}

/// The same frames back, and a status of 0 behind them: requests and responses of gRPC are framed alike, so this answers
/// any method that gives back what it is given, unary or streaming.
pub fn grpc(body: Body) -> Response {
    let data = BodyStream::new(body).filter(|frame| {
        let is_data = frame.as_ref().is_ok_and(Frame::is_data);
        std::future::ready(is_data)
    });
    let mut status = HeaderMap::new();
    status.insert("grpc-status", HeaderValue::from_static("0"));
    let frames = data.chain(stream::once(std::future::ready(Ok(Frame::trailers(status)))));
    let mut response = Response::new(Body::new(StreamBody::new(frames)));
    let kind = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// Sends every message back until the other side closes.
pub async fn web_socket(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        let is_data = matches!(message, Message::Text(_) | Message::Binary(_));
        if is_data && socket.send(message).await.is_err() {
            return;
        }
    }
}
