//! A client connection, as its requests see it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderValue, Request, Uri, uri};
use keda_http_core::route::scoped::Scope;
use rustix::io::ioctl_fionread;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::inbound::observed::Observed;
use crate::inbound::{HALF_CLOSE, HALF_CLOSED_HOLD};

/// The facts about a client that endpoints see in headers.
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

/// How a client stopped sending.
enum End {
    /// It waits for the response.
    Fin,
    Left,
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

    /// Counts an HTTP/1 request that begins, and adds what went around hyper.
    pub fn begin_request<B>(&self, request: &mut Request<B>) {
        let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let Some(extra) = self.observed.take_extra(number) else {
            return;
        };
        for (name, value) in extra.headers {
            request.headers_mut().append(name, value);
        }
        if extra.is_for_server {
            let mut parts = std::mem::take(request.uri_mut()).into_parts();
            parts.path_and_query = Some(uri::PathAndQuery::from_static("*"));
            *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
        }
    }

    /// Whether the client has closed its sending side.
    pub(crate) fn is_half_closed(&self) -> bool {
        self.observed.is_half_closed()
    }

    /// Whether the client has closed its sending side and waits for the response to the current request.
    pub fn has_sent_all(&self) -> bool {
        // The FIN is seen on the socket, where more requests may wait to be read.
        let is_read = || ioctl_fionread(self.socket()).is_ok_and(|unread| unread == 0);
        self.observed.is_last(self.requests.load(Ordering::Relaxed)) && is_read()
    }

    /// Whether the current request asks for an upgrade. Its response must be a 101 or the connection's last one,
    /// because the bytes that follow are not checked.
    pub fn asks_for_upgrade(&self) -> bool {
        self.observed.asks_for_upgrade(self.requests.load(Ordering::Relaxed))
    }

    /// Waits until the client of a held request leaves. `is_read` is whether hyper reads from the connection meanwhile:
    /// it does not while the request's body waits to be read, or once the client has sent more than its request.
    pub(crate) async fn left_while_held(&self, is_read: bool) {
        let left = async {
            if is_read {
                let number = self.requests.load(Ordering::Relaxed);
                self.observed.wait_ahead(number).await;
            }
            if !self.left_while_unread().await {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = left => return,
            () = self.observed.wait_half_closed() => {}
        }
        tokio::time::sleep(HALF_CLOSED_HOLD).await;
    }

    /// Waits for the end of what the client sends, without reading from the connection. Returns whether the client has
    /// left, and has not just closed its sending side behind its request (see [`crate::inbound`]).
    pub(crate) async fn left_while_unread(&self) -> bool {
        match self.watch_end().await {
            Ok(End::Fin) => {
                self.observed.half_close();
                false
            }
            Ok(End::Left) => true,
            // Without a second descriptor the end is noticed only when the body is read.
            Err(_) => false,
        }
    }

    async fn watch_end(&self) -> io::Result<End> {
        let mut last_bytes = Instant::now();
        let socket = TcpStream::from_std(self.second_descriptor()?.into())?;
        let mut arrived = self.observed.received() + ioctl_fionread(&socket)?;
        loop {
            let ready = socket.ready(Interest::READABLE | Interest::ERROR).await?;
            if ready.is_error() {
                return Ok(End::Left);
            }
            let unread = ioctl_fionread(&socket)?;
            let before = std::mem::replace(&mut arrived, self.observed.received() + unread);
            if arrived != before {
                last_bytes = Instant::now();
            }
            if ready.is_read_closed() {
                let missing = self.observed.missing(self.requests.load(Ordering::Relaxed));
                let left = unread < missing || last_bytes.elapsed() >= HALF_CLOSE;
                return Ok(if left { End::Left } else { End::Fin });
            }
            // Nothing is read; only new bytes are to wake this task.
            let _ = socket.try_io(Interest::READABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
        }
    }

    /// Waits until a client that has closed its sending side resets the connection. hyper reads no further then, and
    /// would not notice.
    pub(crate) async fn reset_after_half_close(&self) {
        self.observed.wait_half_closed().await;
        if self.watch_reset().await.is_err() {
            // Without a second descriptor the reset is noticed only when the response is written.
            std::future::pending::<()>().await;
        }
    }

    async fn watch_reset(&self) -> io::Result<()> {
        let socket = TcpStream::from_std(self.second_descriptor()?.into())?;
        while !socket.ready(Interest::ERROR).await?.is_error() {}
        Ok(())
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;
    use crate::inbound::framing::Framing;

    #[tokio::test(start_paused = true)]
    async fn fault_a_hold_after_a_half_close_has_a_limit() {
        let socket = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let peer = socket.local_addr().unwrap();
        let client = Client::new(&socket, peer, HeaderValue::from_static("http"), None);
        let begun = Instant::now();
        let left = client.left_while_held(true);
        let half_close = async {
            tokio::time::sleep(HALF_CLOSED_HOLD * 10).await;
            client.observed.half_close();
        };
        tokio::join!(left, half_close);
        assert_eq!(begun.elapsed().as_secs(), HALF_CLOSED_HOLD.as_secs() * 11);
    }

    /// Whether the client of an upload of ten bytes has left: it sends each part and pauses, then sends a FIN. With
    /// `reads`, the connection is read meanwhile.
    async fn has_left(parts: &[(&[u8], u64)], reads: bool) -> bool {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let mut sender = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut stream, peer) = listener.accept().await.unwrap();
        let client = Client::new(&stream, peer, HeaderValue::from_static("http"), None);
        let mut framing = Framing::new();
        let head = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n";
        framing.push(head).unwrap();
        client.observed.update(&framing, 0);
        client.begin_request(&mut Request::new(()));
        let mut left = std::pin::pin!(client.left_while_unread());
        for (part, pause) in parts {
            sender.write_all(part).await.unwrap();
            let _ = timeout(Duration::from_millis(*pause), left.as_mut()).await;
            if reads {
                stream.read_exact(&mut vec![0; part.len()]).await.unwrap();
                framing.push(part).unwrap();
                client.observed.add_received(part.len());
                client.observed.update(&framing, 0);
            }
        }
        sender.shutdown().await.unwrap();
        left.await
    }

    #[tokio::test(start_paused = true)]
    async fn fault_a_fin_behind_the_last_part_of_a_held_upload_is_a_half_close() {
        let (soon, late) = (1, 30);
        for (parts, left) in [
            (&[(&b"helloworld"[..], 0)][..], false),
            (&[(b"hello", late), (b"world", 0)], false),
            (&[(b"hello", late), (b"wor", late), (b"ld", soon)], false),
            (&[(b"hello", late), (b"world", late)], true),
            (&[(b"helloworld", late)], true),
            (&[(b"hello", 0)], true),
            (&[(b"", late)], true),
        ] {
            for reads in [false, true] {
                assert_eq!(has_left(parts, reads).await, left, "{parts:?}, {reads}");
            }
        }
    }
}
