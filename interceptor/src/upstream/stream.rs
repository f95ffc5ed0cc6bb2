//! The socket of an HTTP/1.1 connection to an endpoint, whose last response can still be read after a failed write.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// An app may respond early and close while its client still sends (RFC 9112 section 9.5). The response is then in our
/// receive buffer, but hyper gives a connection up at the first failed write. So writes to a connection that the app
/// has closed seem to succeed until the end has been read: hyper reads on, and finds the response or the end. After
/// that they fail, or an upgraded connection would take a client's bytes for as long as it sends them.
pub(crate) struct EndpointStream {
    stream: TcpStream,
    closed_by_peer: bool,
    read_ended: bool,
}

impl EndpointStream {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            closed_by_peer: false,
            read_ended: false,
        }
    }

    fn discards_writes(&self) -> bool {
        self.closed_by_peer && !self.read_ended
    }

    fn written(&mut self, written: Poll<io::Result<usize>>, length: usize) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Err(error))
                if !self.read_ended && matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) =>
            {
                self.closed_by_peer = true;
                Poll::Ready(Ok(length))
            }
            written => written,
        }
    }
}

impl AsyncRead for EndpointStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let (before, had_room) = (buf.filled().len(), buf.remaining() > 0);
        let read = std::task::ready!(Pin::new(&mut self.stream).poll_read(cx, buf));
        self.read_ended |= read.is_err() || (had_room && buf.filled().len() == before);
        Poll::Ready(read)
    }
}

impl AsyncWrite for EndpointStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.discards_writes() {
            return Poll::Ready(Ok(buf.len()));
        }
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.written(written, buf.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = || bufs.iter().map(|buf| buf.len()).sum();
        if self.discards_writes() {
            return Poll::Ready(Ok(length()));
        }
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.written(written, length())
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
