//! The stream that HTTP/2 is served on.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::flood::FloodGuard;
use super::observed::{Observed, Refused};
use super::{discard_received, fill};

/// What h2 reads in place of a flood: a head with more CONTINUATION frames than h2 allows. h2 answers with GOAWAY and
/// ENHANCE_YOUR_CALM, and closes the connection.
const TOO_LONG_HEAD: [u8; 9 * 17] = {
    const HEADERS: u8 = 1;
    const CONTINUATION: u8 = 9;
    let mut frames = [0; 9 * 17];
    let mut at = 0;
    while at < frames.len() {
        frames[at + 3] = if at == 0 { HEADERS } else { CONTINUATION };
        frames[at + 8] = 1;
        at += 9;
    }
    frames
};

/// A client's HTTP/2 connection. One that sends too many frames of a kind (see [`super::flood`]) is ended with
/// ENHANCE_YOUR_CALM.
#[derive(Debug)]
pub(crate) struct Http2Io<S> {
    stream: S,
    guard: FloodGuard,
    observed: Arc<Observed>,
    /// Counts the requests that h2 refuses, besides the connections that are refused.
    protocol_errors: Counter,
    /// The unread rest of [`TOO_LONG_HEAD`], after a flood.
    refusal: Option<&'static [u8]>,
}

impl<S> Http2Io<S> {
    /// Wraps a connection before its preface is read.
    pub(crate) fn new(stream: S, observed: Arc<Observed>, protocol_errors: Counter) -> Self {
        Self {
            stream,
            guard: FloodGuard::new(),
            observed,
            protocol_errors,
            refusal: None,
        }
    }

    fn follow_sent(&mut self, bytes: &[u8]) {
        let malformed = self.guard.send(bytes);
        if malformed > 0 {
            self.protocol_errors.inc_by(malformed);
            tracing::debug!(malformed, "streams reset because their requests are malformed");
        }
    }

    fn inspect(&mut self, buf: &mut ReadBuf<'_>, before: usize) {
        let Some(end) = self.guard.receive(&buf.filled()[before..]) else {
            return;
        };
        if let Some(kind) = self.guard.flood() {
            self.observed.refuse(Refused::Flood(kind));
        }
        buf.set_filled(before + end);
        self.refusal = Some(&TOO_LONG_HEAD);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Http2Io<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(left) = &mut this.refusal {
            fill(left, buf);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        this.inspect(buf, before);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Http2Io<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.stream).poll_write(cx, buf))?;
        this.follow_sent(&buf[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
        discard_received(&mut this.stream, cx);
        Poll::Ready(Ok(()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.stream).poll_write_vectored(cx, bufs))?;
        let mut left = written;
        for buf in bufs {
            let taken = left.min(buf.len());
            this.follow_sent(&buf[..taken]);
            left -= taken;
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
