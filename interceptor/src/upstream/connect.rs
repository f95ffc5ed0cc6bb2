//! One dial to one endpoint.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use keda_http_kubernetes::endpoints::{Address, AppProtocol};
use tokio::net::TcpStream;

use crate::config::HeaderNameCase;
use crate::upstream::Upstream;
use crate::upstream::endpoint::Endpoint;
use crate::upstream::request_body::RequestBody;
use crate::upstream::resolve;
use crate::upstream::stream::EndpointStream;

/// Silence after which a shared HTTP/2 connection gets a PING.
const H2_KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// A connection without a reply to the PING within this time is closed.
const H2_KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// The limit of header lines for endpoints that have sent more than hyper's default of 100. hyper then reserves room
/// for this many lines for each response, which takes 7 µs.
const MAX_HEADER_LINES: usize = 1_000;
/// The largest head of an HTTP/1.1 response.
const MAX_HEAD_BYTES: usize = 400 * 1024;

/// The sending half of a connection.
pub(crate) enum Sender {
    /// One request at a time.
    Http1(http1::SendRequest<RequestBody>),
    /// Shared by many requests.
    Http2(http2::SendRequest<RequestBody>),
}

/// Why a dial failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error(transparent)]
    Resolve(#[from] resolve::ResolveError),
    /// The kernel reported an error: refused, reset, unreachable.
    #[error("connecting to {address}: {source}")]
    Connect { address: SocketAddr, source: io::Error },
    #[error("connecting to {address}: no answer within {timeout:?}")]
    Timeout { address: SocketAddr, timeout: Duration },
    /// The TCP connection was established, but the HTTP handshake failed.
    #[error("connecting to {address}: {source}")]
    Handshake { address: SocketAddr, source: hyper::Error },
}

/// Settings of a new connection.
#[derive(Clone, Copy)]
struct Handshake {
    protocol: AppProtocol,
    header_names: HeaderNameCase,
    large_heads: bool,
}

/// Opens a connection. The timeout is for one socket; zero means no timeout. A name may have several sockets, which are
/// tried in order.
pub(crate) async fn dial(endpoint: &Endpoint, protocol: AppProtocol, upstream: &Upstream) -> Result<Sender, DialError> {
    let how = Handshake {
        protocol,
        header_names: upstream.header_names,
        large_heads: endpoint.sends_large_heads(),
    };
    match &endpoint.address {
        Address::Socket(socket) => dial_socket(*socket, how, upstream.connect_timeout).await,
        // Boxed: few endpoints are names, and every dial would be as large as this one.
        Address::Name { host, port } => Box::pin(dial_name(host, *port, how, upstream.connect_timeout)).await,
    }
}

async fn dial_name(host: &str, port: u16, how: Handshake, timeout: Duration) -> Result<Sender, DialError> {
    let (first, others) = resolve::sockets(host, port).await?;
    let mut dialled = dial_socket(first, how, timeout).await;
    for socket in others {
        if dialled.is_ok() {
            break;
        }
        dialled = dial_socket(socket, how, timeout).await;
    }
    dialled
}

async fn dial_socket(address: SocketAddr, how: Handshake, timeout: Duration) -> Result<Sender, DialError> {
    let connecting = TcpStream::connect(address);
    let connected = if timeout.is_zero() {
        Ok(connecting.await)
    } else {
        tokio::time::timeout(timeout, connecting).await
    };
    let stream = connected
        .map_err(|_| DialError::Timeout { address, timeout })?
        .map_err(|source| DialError::Connect { address, source })?;
    // Without it small requests wait for acknowledgements. A failure only costs speed.
    let _ = stream.set_nodelay(true);
    let handshake = match how.protocol {
        AppProtocol::Http1 => handshake_http1(stream, how).await,
        AppProtocol::H2c => handshake_http2(stream).await,
    };
    handshake.map_err(|source| DialError::Handshake { address, source })
}

async fn handshake_http1(stream: TcpStream, how: Handshake) -> Result<Sender, hyper::Error> {
    let mut builder = http1::Builder::new();
    builder
        // A proxy must accept both (RFC 9112 sections 5.1 and 5.2).
        .allow_obsolete_multiline_headers_in_responses(true)
        .allow_spaces_after_header_name_in_responses(true)
        .title_case_headers(how.header_names == HeaderNameCase::Title)
        .max_header_size(MAX_HEAD_BYTES);
    if how.large_heads {
        builder.max_headers(MAX_HEADER_LINES);
    }
    let (sender, connection) = builder.handshake(TokioIo::new(EndpointStream::new(stream))).await?;
    tokio::spawn(async move {
        // The sender reports the error to whoever uses the connection.
        let _ = connection.with_upgrades().await;
    });
    Ok(Sender::Http1(sender))
}

async fn handshake_http2(stream: TcpStream) -> Result<Sender, hyper::Error> {
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(H2_KEEPALIVE_INTERVAL)
        .keep_alive_timeout(H2_KEEPALIVE_TIMEOUT)
        .handshake(TokioIo::new(stream))
        .await?;
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(Sender::Http2(sender))
}
