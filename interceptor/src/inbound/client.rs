//! What is known of one client connection, for all requests that come over it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderValue;
use keda_http_core::route::scoped::Scope;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

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

impl Client {
    /// A plain connection.
    pub fn new(stream: &TcpStream, peer: SocketAddr, scope: Option<Scope>) -> Self {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let forwarded_for =
            HeaderValue::from_str(&peer.ip().to_string()).unwrap_or(HeaderValue::from_static("unknown"));
        Self {
            peer,
            facts: ClientFacts {
                forwarded_for,
                scheme: HeaderValue::from_static("http"),
            },
            observed: Arc::default(),
            requests: AtomicU64::new(0),
            scope,
            socket: stream.as_raw_fd(),
        }
    }

    /// Counts an HTTP/1 request that begins to be answered.
    pub fn begin_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the request that is being answered may switch protocols. Its response is then either a 101 or the
    /// connection's last: what follows was not checked.
    pub fn asks_for_upgrade(&self) -> bool {
        self.observed.asks_for_upgrade(self.requests.load(Ordering::Relaxed))
    }

    /// Waits until the client has closed its side. While a request with a body is held nobody reads from the
    /// connection, so its end would not be noticed; the socket is watched by itself instead, without reading.
    pub async fn gone(&self) {
        if self.watch().await.is_err() {
            // No descriptor left to watch with: the end is then noticed when the body is read.
            std::future::pending::<()>().await;
        }
    }

    async fn watch(&self) -> io::Result<()> {
        let socket = TcpStream::from_std(self.second_descriptor()?.into())?;
        while !socket.ready(Interest::READABLE).await?.is_read_closed() {
            // What has come is left unread; only what comes next is to wake us.
            let _ = socket.try_io(Interest::READABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
        }
        Ok(())
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
