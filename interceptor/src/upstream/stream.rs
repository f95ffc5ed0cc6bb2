//! The socket of an HTTP/1.1 connection to an endpoint, whose last response can still be read after a failed write.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Bytes that are read of one connection before the others of the worker have their turn. hyper reads on by itself while
/// an app sends 1xx responses, however many.
const TURN_BYTES: usize = 64 * 1024;

/// An app may respond early and close while its client still sends (RFC 9112 section 9.5). The response is then in our
/// receive buffer, but hyper gives a connection up at the first failed write. So writes to a connection that the app
/// has closed seem to succeed until the end has been read: hyper reads on, and finds the response or the end. After
/// that they fail, or an upgraded connection would take a client's bytes for as long as it sends them.
pub(crate) struct EndpointStream {
    stream: TcpStream,
    closed_by_peer: bool,
    read_ended: bool,
    /// Bytes since the last turn of others.
    read_in_turn: usize,
}

impl EndpointStream {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            closed_by_peer: false,
            read_ended: false,
            read_in_turn: 0,
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
        if self.read_in_turn >= TURN_BYTES {
            self.read_in_turn = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let (before, had_room) = (buf.filled().len(), buf.remaining() > 0);
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        let Poll::Ready(read) = read else {
            self.read_in_turn = 0;
            return Poll::Pending;
        };
        let bytes = buf.filled().len() - before;
        self.read_in_turn += bytes;
        self.read_ended |= read.is_err() || (had_room && bytes == 0);
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

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn after_some_bytes_others_have_their_turn_although_there_is_more_to_read() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut app, _) = listener.accept().await.unwrap();
        app.write_all(b"more").await.unwrap();
        client.readable().await.unwrap();
        let mut stream = EndpointStream::new(client);
        stream.read_in_turn = TURN_BYTES;
        let mut buffer = [0; 2];
        assert!(stream.read(&mut buffer).now_or_never().is_none());
        assert_eq!(stream.read(&mut buffer).now_or_never().unwrap().unwrap(), 2);
        assert_eq!(stream.read_in_turn, 2);
    }
}
