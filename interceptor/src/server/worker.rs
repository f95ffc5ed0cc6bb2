//! One thread per CPU: a current-thread runtime, a listener of its own, and everything that belongs to its connections.
//!
//! A work-stealing runtime keeps the median lower and lets the slowest request wait five times as long under load.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use keda_http_core::route::scoped::Scope;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::config::HeaderNameCase;
use crate::inbound::MAX_HEAD_BYTES;
use crate::inbound::client::Client;
use crate::inbound::http1::Http1Io;
use crate::inbound::http2::Http2Io;
use crate::proxy::Proxy;
use crate::proxy::response_body::ResponseBody;
use crate::server::listeners::ScopedListener;
use crate::server::stream::{Protocol, Stream};

/// Bytes of all header fields of one HTTP/2 request; the same limit as for HTTP/1.1.
const MAX_HEADER_LIST: u32 = 64 * 1024;
/// Open requests of one HTTP/2 connection.
const MAX_STREAMS: u32 = 1000;
/// Bytes of one HTTP/2 request body that wait to be read. A long hold must not fill the window of the connection, which
/// would stop the bodies of all other requests; Envoy advises the same size.
const STREAM_WINDOW: u32 = 64 * 1024;
/// Bytes of all request bodies of one HTTP/2 connection that wait to be read. h2 ends a connection when DATA frames of
/// less than 256 bytes cost more than half of this, each what it has less than 256. A stream window of 5-byte frames
/// costs 3.3 MB, so that a client that sends small messages to a held request is stopped by its stream's window.
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;
/// Silence after which an HTTP/2 client gets a PING, so that the requests of a dead client end.
const H2_KEEPALIVE: Duration = Duration::from_secs(30);
/// Silence after which the kernel probes a connection of either protocol.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);
/// Pause after a failed accept, which happens when descriptors run out; new connections wait in the backlog.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// Time to answer held requests after the drain timeout.
const CUT_GRACE: Duration = Duration::from_secs(1);

/// How and when a worker ends.
#[derive(Clone)]
pub struct Lifetime {
    /// Stops accepting; open requests finish.
    pub close: CancellationToken,
    /// Refuses held requests and closes all connections.
    pub cut: CancellationToken,
    /// Cancelled when any worker has ended.
    pub ended: CancellationToken,
}

/// A worker that has not started.
pub struct Worker {
    /// Its own socket on the proxy port.
    pub listener: std::net::TcpListener,
    /// Its sockets on the ports of autowired Services, as they are opened.
    pub scoped: mpsc::UnboundedReceiver<ScopedListener>,
    pub proxy: Proxy,
    /// Limit for the head of a request, from its first byte.
    pub head_timeout: Duration,
    /// How header names are written on HTTP/1.1.
    pub(crate) header_names: HeaderNameCase,
    pub lifetime: Lifetime,
}

impl Worker {
    /// Starts the thread. It ends when all connections have ended, or shortly after [`Lifetime::cut`].
    ///
    /// # Errors
    /// When the thread or its runtime cannot be created.
    pub fn start(self, number: usize) -> io::Result<std::thread::JoinHandle<()>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let ended = self.lifetime.ended.clone().drop_guard();
        std::thread::Builder::new()
            .name(format!("worker-{number}"))
            .spawn(move || {
                let _ended = ended;
                if let Err(error) = runtime.block_on(self.run()) {
                    tracing::error!(%error, "worker ended");
                }
                // Tasks that are left after the cut are dropped, not waited for.
                runtime.shutdown_background();
            })
    }

    async fn run(self) -> io::Result<()> {
        let listener = TcpListener::from_std(self.listener)?;
        let server = Arc::new(Server {
            proxy: self.proxy,
            head_timeout: self.head_timeout,
            http1: http1_builder(self.header_names),
            http2: http2_builder(),
        });
        let connections = server.proxy.pipes.tracker.clone();
        let scoped = connections.spawn(serve_scoped(self.scoped, server.clone()));
        server.listen(listener, None, &self.lifetime.close).await;
        scoped.abort();
        connections.close();
        if self
            .lifetime
            .cut
            .run_until_cancelled(connections.wait())
            .await
            .is_none()
        {
            // Held requests get 503 at once; other requests do not end that soon.
            let _ = tokio::time::timeout(CUT_GRACE, connections.wait()).await;
        }
        Ok(())
    }
}

/// Serves the listeners of autowired Services as they are opened.
async fn serve_scoped(mut shares: mpsc::UnboundedReceiver<ScopedListener>, server: Arc<Server>) {
    while let Some(share) = shares.recv().await {
        match TcpListener::from_std(share.listener) {
            Ok(listener) => {
                let server = server.clone();
                let connections = server.proxy.pipes.tracker.clone();
                connections.spawn(async move {
                    server.listen(listener, Some(share.scope), &share.close).await;
                    drop(share.open);
                });
            }
            Err(error) => tracing::warn!(%error, service = %share.scope, "cannot use a listener"),
        }
    }
}

/// Sets options for latency and for the detection of dead peers. A connection works without them.
fn set_options(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let keepalive = TcpKeepalive::new()
        .with_time(TCP_KEEPALIVE)
        .with_interval(TCP_KEEPALIVE / 3);
    let _ = SockRef::from(stream).set_tcp_keepalive(&keepalive);
}

fn http1_builder(header_names: HeaderNameCase) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .header_read_timeout(None)
        .title_case_headers(header_names == HeaderNameCase::Title)
        .max_header_size(MAX_HEAD_BYTES);
    builder
}

fn http2_builder() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(H2_KEEPALIVE)
        .max_concurrent_streams(MAX_STREAMS)
        // h2 would count over the whole life of a connection; `inbound::flood` has an allowance that grows back.
        .max_local_error_reset_streams(None)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MAX_HEADER_LIST);
    builder
}

/// Whether h2 ended the connection because of what the client sent.
fn is_http2_violation(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<h2::Error>());
    cause.is_some_and(h2::Error::is_library)
}

/// Shared by all connections of a worker.
struct Server {
    proxy: Proxy,
    head_timeout: Duration,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
}

impl Server {
    /// Accepts connections until `close`.
    async fn listen(self: &Arc<Self>, listener: TcpListener, scope: Option<Scope>, close: &CancellationToken) {
        let serve = |(stream, peer)| self.spawn(stream, peer, scope.clone(), close.clone());
        let accepting = async {
            loop {
                match listener.accept().await {
                    Ok(accepted) => serve(accepted),
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        };
        let _: Option<()> = close.run_until_cancelled(accepting).await;
        // The kernel would reset the connections in the backlog together with the listener.
        while let Some(Ok(accepted)) = listener.accept().now_or_never() {
            serve(accepted);
        }
    }

    fn spawn(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr, scope: Option<Scope>, close: CancellationToken) {
        set_options(&stream);
        let stream = Stream::Plain(stream);
        let client = Client::new(&stream, peer, stream.scheme(), scope);
        let serving = self.clone().serve(stream, client, close);
        self.proxy.pipes.tracker.spawn(serving);
    }

    /// Serves one connection. Its errors end only this connection.
    async fn serve(self: Arc<Self>, stream: Stream, client: Client, close: CancellationToken) {
        let (peer, observed) = (client.peer, client.observed.clone());
        let protocol = close.run_until_cancelled(stream.protocol(self.head_timeout)).await;
        // When the listener closes, a connection is served if bytes have arrived; a silent one is closed.
        let protocol = protocol.or_else(|| stream.protocol(self.head_timeout).now_or_never());
        let served = match protocol {
            Some(Ok(Protocol::Http2)) => self.clone().serve_http2(stream, client, close).await,
            Some(Ok(Protocol::Http1)) => self.clone().serve_http1(stream, client, close).await,
            Some(Err(_)) | None => return,
        };
        let Err(error) = served else { return };
        let refused = observed.refused();
        if refused.is_some() || error.is_parse() || is_http2_violation(&error) {
            self.proxy.metrics.protocol_errors.inc();
        }
        match refused {
            Some(reason) => tracing::debug!(%peer, %reason, "connection refused"),
            None => tracing::debug!(%peer, error = format!("{:#}", anyhow::Error::from(error)), "connection ended"),
        }
    }

    async fn serve_http1(
        self: Arc<Self>,
        stream: Stream,
        client: Client,
        close: CancellationToken,
    ) -> hyper::Result<()> {
        let observed = client.observed.clone();
        let io = TokioIo::new(Http1Io::new(stream, Some(self.head_timeout), observed));
        let (server, client) = (self.clone(), Arc::new(client));
        let answered = client.clone();
        let service = service_fn(move |mut request| {
            answered.begin_request(&mut request);
            server.clone().handle(answered.clone(), request)
        });
        let connection = self.http1.serve_connection(io, service).with_upgrades();
        let mut connection = std::pin::pin!(connection);
        let mut reset = std::pin::pin!(client.reset_after_half_close());
        let served = std::future::poll_fn(|cx| {
            let mut served = connection.as_mut().poll(cx);
            if served.is_pending() && client.has_sent_all() {
                // The current response is the last one.
                connection.as_mut().graceful_shutdown();
                served = connection.as_mut().poll(cx);
            }
            // Only a half-closed connection is watched for a reset: others would pay for it with each request.
            if served.is_pending() && client.is_half_closed() {
                return reset.as_mut().poll(cx).map(Ok);
            }
            served
        });
        tokio::select! {
            biased;
            ended = served => return ended,
            () = close.cancelled() => {}
        }
        connection.as_mut().graceful_shutdown();
        tokio::select! {
            ended = connection => ended,
            () = reset => Ok(()),
        }
    }

    async fn serve_http2(
        self: Arc<Self>,
        stream: Stream,
        client: Client,
        close: CancellationToken,
    ) -> hyper::Result<()> {
        let io = Http2Io::new(
            stream,
            client.observed.clone(),
            self.proxy.metrics.protocol_errors.clone(),
        );
        let io = TokioIo::new(io);
        let (server, client) = (self.clone(), Arc::new(client));
        let service = service_fn(move |request| server.clone().handle(client.clone(), request));
        let connection = self.http2.serve_connection(io, service);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            ended = connection.as_mut() => return ended,
            () = close.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        connection.await
    }

    async fn handle(
        self: Arc<Self>,
        client: Arc<Client>,
        request: Request<Incoming>,
    ) -> Result<Response<ResponseBody>, std::convert::Infallible> {
        Ok(self.proxy.handle(&client, request).await)
    }
}
