//! An accepted connection, before its first request: how it is wrapped decides what it speaks, its scheme and its peer.
//!
//! TLS (protocol by ALPN, `https`) and the PROXY protocol (another peer) are further variants of [`Stream`]: nothing
//! that serves a connection asks for more than this.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::HeaderValue;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// What an HTTP/2 client sends first (RFC 9113 section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// The bytes of a client, however they are wrapped.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(TcpStream),
}

impl Stream {
    /// How the client came, as endpoints see it in `X-Forwarded-Proto`.
    pub(super) fn scheme(&self) -> HeaderValue {
        match self {
            Self::Plain(_) => HeaderValue::from_static("http"),
        }
    }

    /// The protocol that the client speaks, as soon as that shows.
    ///
    /// # Errors
    /// When the connection breaks, or has begun to speak and does not go on within `limit`.
    pub(super) async fn protocol(&self, limit: Duration) -> io::Result<Protocol> {
        match self {
            Self::Plain(stream) => protocol_by_preface(stream, limit).await,
        }
    }
}

/// Looks at the first bytes without taking them: the HTTP/2 preface starts like no HTTP/1 request does. A connection
/// that has sent nothing takes no buffers; one that has begun has `limit` to go on.
async fn protocol_by_preface(stream: &TcpStream, limit: Duration) -> io::Result<Protocol> {
    let mut first = [0; PREFACE.len()];
    let mut deadline = None;
    loop {
        let length = stream.peek(&mut first).await?;
        if length == 0 || first[..length] != PREFACE[..length] {
            return Ok(Protocol::Http1);
        }
        if length == PREFACE.len() {
            return Ok(Protocol::Http2);
        }
        // The bytes are still unread; only new ones are to wake this task.
        let _ = stream.try_io(Interest::READABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
        let deadline = *deadline.get_or_insert_with(|| Instant::now() + limit);
        let ready = tokio::time::timeout_at(deadline, stream.ready(Interest::READABLE)).await??;
        // A closed sending side stays ready for ever, and a timeout asks the clock only after what it limits.
        if Instant::now() >= deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        if ready.is_read_closed() && stream.peek(&mut first).await? < PREFACE.len() {
            return Ok(Protocol::Http1);
        }
    }
}

impl AsRawFd for Stream {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Self::Plain(stream) => stream.as_raw_fd(),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
        }
    }
}
