//! What is known of one client connection, for all requests that come over it.

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

/// What every request of one client connection has in common.
pub struct ClientFacts {
    /// The client's address, as it is appended to `X-Forwarded-For`.
    pub forwarded_for: HeaderValue,
    /// `http` or `https`, by the listener.
    pub scheme: HeaderValue,
}

/// A client connection. Lives inside the connection's own task, so never longer than its socket.
pub struct Client {
    /// Where it comes from.
    pub peer: SocketAddr,
    /// What endpoints are told of it.
    pub facts: ClientFacts,
    /// What its bytes have shown, for HTTP/1.
    pub observed: Arc<Observed>,
    /// Requests that have begun, for HTTP/1: they begin one after another, each after the former's response.
    requests: AtomicU64,
    /// The autowired Service it came through, when it came by that one's own listener.
    pub scope: Option<Scope>,
    socket: RawFd,
}

/// How a client has ended its side.
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

    /// An HTTP/1 request begins to be answered: it is counted, and gets the header lines that hyper was not given.
    pub fn begin_request<B>(&self, request: &mut Request<B>) {
        let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        for (name, value) in self.observed.take_extra(number).into_iter().flatten() {
            request.headers_mut().append(name, value);
        }
    }

    /// Whether the client has closed its side and waits only for the answer to the request that has begun last.
    pub fn has_sent_all(&self) -> bool {
        self.observed.is_last(self.requests.load(Ordering::Relaxed))
    }

    /// Whether the request that is being answered may switch protocols. Its response is then either a 101 or the
    /// connection's last: what follows was not checked.
    pub fn asks_for_upgrade(&self) -> bool {
        self.observed.asks_for_upgrade(self.requests.load(Ordering::Relaxed))
    }

    /// Waits until the client has gone: until its FIN comes, later than `grace` from now (before that it is a half-close,
    /// see [`crate::inbound`]). While a request with a body is held nobody reads from the connection, so its end would not
    /// be noticed; the socket is watched by itself instead, without reading.
    pub async fn gone(&self, grace: Duration) {
        let since = Instant::now();
        match self.watch().await {
            Ok(End::Fin) if since.elapsed() < grace => self.observed.half_close(),
            Ok(End::Fin | End::Reset) => return,
            Err(_) => {}
        }
        // Without a descriptor to watch with, the end is noticed when the body is read.
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
            // What has come is left unread; only what comes next is to wake us.
            let _ = socket.try_io(Interest::READABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
        }
    }

    /// The address that the client has connected to.
    pub fn local(&self) -> Option<SocketAddr> {
        let local = SockRef::from(&self.socket()).local_addr().ok()?.as_socket()?;
        Some(SocketAddr::new(local.ip().to_canonical(), local.port()))
    }

    /// Another descriptor of the same socket: the event queue takes each descriptor only once.
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
