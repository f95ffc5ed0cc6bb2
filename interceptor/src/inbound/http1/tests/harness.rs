//! hyper's own server over [`Http1Io`], on loopback or on a stream that hands out given pieces.

use std::collections::VecDeque;
use std::error::Error;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::GENEROUS;
use crate::inbound::MAX_HEAD_BYTES;
use crate::inbound::framing::ViolationKind;
use crate::inbound::http1::Http1Io;
use crate::inbound::observed::Observed;

/// What the service was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Request {
        line: String,
        body: Vec<u8>,
        trailers: usize,
    },
    BodyError {
        received: Vec<u8>,
        cause: Option<ViolationKind>,
    },
}

/// What came back, and what the service saw meanwhile.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) text: String,
    /// By the server; the client never closes first.
    pub(super) is_closed: bool,
    pub(super) seen: Vec<Seen>,
}

#[derive(Clone, Default)]
pub(super) struct Service {
    observed: Arc<Observed>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Service {
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }

    async fn serve(self, mut request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
        if request.uri().path() == "/echo" {
            let upgrade = hyper::upgrade::on(&mut request);
            self.observed.switch();
            tokio::spawn(async move { echo(upgrade.await.expect("an upgrade")).await });
            return Ok(answer(101));
        }
        let line = format!("{} {} {:?}", request.method(), request.uri(), request.version());
        let (seen, status) = read_body(line, request.into_body()).await;
        self.seen.lock().push(seen);
        Ok(answer(status))
    }
}

fn answer(status: u16) -> Response<Full<Bytes>> {
    let body = if status == 200 {
        Bytes::from_static(b"ok")
    } else {
        Bytes::new()
    };
    Response::builder()
        .status(status)
        .body(Full::new(body))
        .expect("a response")
}

async fn read_body(line: String, mut incoming: Incoming) -> (Seen, u16) {
    let mut body = Vec::new();
    let mut trailers = 0;
    while let Some(frame) = incoming.frame().await {
        match frame {
            Ok(frame) => match frame.into_data() {
                Ok(data) => body.extend_from_slice(&data),
                Err(frame) => trailers += frame.into_trailers().expect("trailers").len(),
            },
            Err(error) => {
                return (
                    Seen::BodyError {
                        received: body,
                        cause: violation_in(&error),
                    },
                    400,
                );
            }
        }
    }
    (Seen::Request { line, body, trailers }, 200)
}

fn violation_in(error: &hyper::Error) -> Option<ViolationKind> {
    let cause = error.source()?.downcast_ref::<io::Error>()?;
    cause.get_ref()?.downcast_ref().copied()
}

async fn echo(upgraded: hyper::upgrade::Upgraded) {
    let (mut read, mut write) = tokio::io::split(TokioIo::new(upgraded));
    tokio::io::copy(&mut read, &mut write).await.expect("an echo");
    write.shutdown().await.expect("an end");
}

type Served = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

/// Serves one connection; the future ends when hyper is done with it.
pub(super) fn on_stream<S>(stream: S) -> (Served, Service)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = Service::default();
    (serve(stream, service.clone()), service)
}

/// A checked connection of which nothing is asked.
pub(super) fn checked<S>(stream: S, head_timeout: Option<Duration>) -> Http1Io<S> {
    Http1Io::new(stream, head_timeout, Arc::default())
}

fn serve<S>(stream: S, service: Service) -> Served
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let serve = service_fn(move |request| service.clone().serve(request));
    let mut builder = http1::Builder::new();
    builder
        .header_read_timeout(None)
        .auto_date_header(false)
        .max_header_size(MAX_HEAD_BYTES);
    let connection = builder.serve_connection(TokioIo::new(stream), serve);
    Box::pin(connection.with_upgrades())
}

/// A server that runs as long as the test.
pub(super) async fn listen() -> (SocketAddr, Service) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let service = Service::default();
    let served = service.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = Service {
                observed: Arc::default(),
                seen: served.seen.clone(),
            };
            let io = Http1Io::new(stream, Some(GENEROUS), service.observed.clone());
            tokio::spawn(serve(io, service));
        }
    });
    (address, service)
}

/// Sends `bytes` over TCP and reads until the server closes; the client does not close first.
pub(super) async fn raw(bytes: &[u8]) -> Answer {
    let (address, service) = listen().await;
    let mut client = TcpStream::connect(address).await.expect("a connection");
    client.write_all(bytes).await.expect("a request");
    let mut text = Vec::new();
    timeout(GENEROUS, client.read_to_end(&mut text))
        .await
        .expect("the server closes")
        .expect("an answer");
    Answer {
        text: String::from_utf8(text).expect("UTF-8"),
        is_closed: true,
        seen: service.seen(),
    }
}

/// Hands out one piece a read, then is silent.
struct Pieces {
    pieces: VecDeque<Vec<u8>>,
    written: Arc<Mutex<Vec<u8>>>,
}

impl AsyncRead for Pieces {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let pieces = &mut self.get_mut().pieces;
        let Some(mut piece) = pieces.pop_front() else {
            return Poll::Pending;
        };
        let later = piece.split_off(piece.len().min(buf.remaining()));
        buf.put_slice(&piece);
        if !later.is_empty() {
            pieces.push_front(later);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pieces {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.written.lock().extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Serves a client that sends `pieces`, until the server closes or nothing more happens.
pub(super) async fn in_pieces(pieces: &[&[u8]]) -> Answer {
    serve_pieces(pieces, |pieces| on_stream(checked(pieces, None))).await
}

/// The same without [`Http1Io`].
pub(super) async fn unchecked(bytes: &[u8]) -> Answer {
    serve_pieces(&[bytes], on_stream).await
}

async fn serve_pieces(pieces: &[&[u8]], start: impl FnOnce(Pieces) -> (Served, Service)) -> Answer {
    let written = Arc::new(Mutex::new(Vec::new()));
    let pieces = pieces.iter().map(|piece| piece.to_vec()).collect();
    let (served, service) = start(Pieces {
        pieces,
        written: written.clone(),
    });
    // The clock is paused: it moves on only when nothing more can happen.
    let is_closed = timeout(GENEROUS, served).await.is_ok();
    let text = String::from_utf8(written.lock().clone()).expect("UTF-8");
    Answer {
        text,
        is_closed,
        seen: service.seen(),
    }
}
