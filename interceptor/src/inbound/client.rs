//! A client connection, as its requests see it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{HeaderValue, Request};
use keda_http_core::route::scoped::Scope;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::inbound::Observed;

/// What endpoints are told about a client.
pub struct ClientFacts {
    /// The client's address, as it is appended to `X-Forwarded-For`.
    pub forwarded_for: HeaderValue,
    /// `http` or `https`, by the listener.
    pub scheme: HeaderValue,
}

/// A client connection. It is owned by the connection's task, so it never outlives the socket.
pub struct Client {
    pub peer: SocketAddr,
    pub facts: ClientFacts,
    /// What its bytes have shown so far.
    pub observed: Arc<Observed>,
    /// HTTP/1 requests that have begun. Each begins after the response to the one before.
    requests: AtomicU64,
    /// The autowired Service whose own listener accepted the connection.
    pub scope: Option<Scope>,
    socket: RawFd,
}

/// How a connection ended.
enum End {
    Fin,
    Reset,
}

impl Client {
    /// A connection over the socket of `stream`.
    pub fn new(stream: &impl AsRawFd, peer: SocketAddr, scheme: HeaderValue, scope: Option<Scope>) -> Self {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let forwarded_for =
            HeaderValue::from_str(&peer.ip().to_string()).unwrap_or(HeaderValue::from_static("unknown"));
        Self {
            peer,
            facts: ClientFacts { forwarded_for, scheme },
            observed: Arc::default(),
            requests: AtomicU64::new(0),
            scope,
            socket: stream.as_raw_fd(),
        }
    }

    /// Counts an HTTP/1 request that begins, and adds the header lines that went around hyper.
    pub fn begin_request<B>(&self, request: &mut Request<B>) {
        let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        for (name, value) in self.observed.take_extra(number).into_iter().flatten() {
            request.headers_mut().append(name, value);
        }
    }

    /// Whether the client has closed its sending side and waits for the response to the current request.
    pub fn has_sent_all(&self) -> bool {
        self.observed.is_last(self.requests.load(Ordering::Relaxed))
    }

    /// Whether the current request asks for an upgrade. Its response must be a 101 or the connection's last one,
    /// because the bytes that follow are not checked.
    pub fn asks_for_upgrade(&self) -> bool {
        self.observed.asks_for_upgrade(self.requests.load(Ordering::Relaxed))
    }

    /// Waits until the client leaves: until a reset, or a FIN later than `grace` from now (an earlier one is a
    /// half-close, see [`crate::inbound`]). While a request with a body is held, hyper does not read from the
    /// connection, so the socket is watched here, without reading.
    pub async fn gone(&self, grace: Duration) {
        let since = Instant::now();
        match self.watch().await {
            Ok(End::Fin) if since.elapsed() < grace => self.observed.half_close(),
            Ok(End::Fin | End::Reset) => return,
            Err(_) => {}
        }
        // Without a second descriptor the end is noticed only when the body is read.
        std::future::pending::<()>().await;
    }

    async fn watch(&self) -> io::Result<End> {
        let socket = TcpStream::from_std(self.second_descriptor()?.into())?;
        loop {
            let ready = socket.ready(Interest::READABLE | Interest::ERROR).await?;
            if ready.is_error() {
                return Ok(End::Reset);
            }
            if ready.is_read_closed() {
                return Ok(End::Fin);
            }
            // Nothing is read; only new bytes are to wake this task.
            let _ = socket.try_io(Interest::READABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
        }
    }

    /// The address that the client has connected to.
    pub fn local(&self) -> Option<SocketAddr> {
        let local = SockRef::from(&self.socket()).local_addr().ok()?.as_socket()?;
        Some(SocketAddr::new(local.ip().to_canonical(), local.port()))
    }

    /// A second descriptor, because epoll accepts each descriptor only once.
    fn second_descriptor(&self) -> io::Result<OwnedFd> {
        self.socket().try_clone_to_owned()
    }

    fn socket(&self) -> BorrowedFd<'_> {
        #[expect(
            unsafe_code,
            reason = "hyper owns the stream and lends it to nobody; see below why it is open"
        )]
        // SAFETY: a request is owned by its connection's task, which owns the socket and drops it after the request.
        unsafe {
            BorrowedFd::borrow_raw(self.socket)
        }
    }
}
