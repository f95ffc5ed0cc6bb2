//! The client's side of a connection: what hyper may read from it, and how long a request head may take.
//!
//! # Layout
//!
//! - [`framing`]: follows the client's bytes and finds what must not be let through.
//! - [`ClientIo`]: the stream hyper serves. It stops such bytes, so that hyper answers 400 and closes.

pub mod client;
pub mod framing;

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use framing::{Framing, Violation, ViolationKind};

/// The largest request head we take, in bytes. hyper enforces it (`max_header_size`) and answers 431.
pub const MAX_HEAD_BYTES: usize = 64 * 1024;

/// What hyper reads in place of a bad byte in a request head. It refuses a NUL wherever it stands, but looks for it
/// only once a blank line has come.
const POISON: &[u8] = b"\0\r\n\r\n";

/// How much of what a client has sent is thrown away, at most, when its connection is shut down.
const MAX_DISCARDED_READS: usize = 16;
const DISCARDED_READ_BYTES: usize = 4096;

/// A client's connection as hyper may see it: the stream `S` without the bytes of malformed HTTP/1.
///
/// - In a request head, the first bad byte and all after it are replaced by something hyper answers 400 to, then by the
///   end of the stream.
/// - In a request body, reading fails with [`io::ErrorKind::InvalidData`] and the [`ViolationKind`] inside: the body's
///   reader gets an error, never an end. hyper closes the connection after the response, but does not announce it:
///   whoever answers such a request adds `Connection: close`.
/// - A request head that stays incomplete for `head_timeout` fails the read with [`io::ErrorKind::TimedOut`]. A
///   connection that is silent before its first request or between two is not limited.
///
/// See [`framing`] for what must hold when a client asks for an upgrade.
#[derive(Debug)]
pub struct ClientIo<S> {
    stream: S,
    framing: Framing,
    observed: Arc<Observed>,
    refusal: Refusal,
    head_timeout: Option<Duration>,
    /// Exists only while a head is incomplete and the client silent.
    deadline: Option<Pin<Box<Sleep>>>,
}

/// What the bytes of an HTTP/1 connection have shown so far: written by its [`ClientIo`], read by whoever answers its
/// requests. Both run in the connection's task.
#[derive(Debug, Default)]
pub struct Observed {
    /// Request heads that are complete.
    heads: AtomicU64,
    /// The last of these asks for an upgrade: no other head follows, and nothing is checked any more.
    upgrade: AtomicBool,
}

impl Observed {
    /// Whether what follows the request of this number (the first is 1) is not checked, so that it must not be read as
    /// HTTP.
    pub fn asks_for_upgrade(&self, number: u64) -> bool {
        self.upgrade.load(Ordering::Relaxed) && number >= self.heads.load(Ordering::Relaxed)
    }

    fn update(&self, framing: &Framing) {
        self.heads.store(framing.heads(), Ordering::Relaxed);
        self.upgrade.store(framing.asks_for_upgrade(), Ordering::Relaxed);
    }
}

#[derive(Debug)]
enum Refusal {
    None,
    /// What is left to read of [`POISON`].
    Head(&'static [u8]),
    Body(ViolationKind),
}

impl<S> ClientIo<S> {
    /// A new connection. `None` as `head_timeout` lets a request head take any time.
    pub fn new(stream: S, head_timeout: Option<Duration>, observed: Arc<Observed>) -> Self {
        Self {
            stream,
            framing: Framing::new(),
            observed,
            refusal: Refusal::None,
            head_timeout,
            deadline: None,
        }
    }

    /// Checks the bytes of `buf` from `before` on.
    fn inspect(&mut self, buf: &mut ReadBuf<'_>, before: usize) -> io::Result<()> {
        let heads = self.framing.heads();
        let checked = self.framing.push(&buf.filled()[before..]);
        if self.framing.heads() != heads {
            self.deadline = None;
            self.observed.update(&self.framing);
        }
        checked.or_else(|violation| self.refuse(violation, buf, before))
    }

    fn refuse(&mut self, violation: Violation, buf: &mut ReadBuf<'_>, before: usize) -> io::Result<()> {
        buf.set_filled(before + violation.offset);
        if !self.framing.is_inside_body() {
            self.refusal = Refusal::Head(POISON);
            return self.read_refusal(buf);
        }
        self.refusal = Refusal::Body(violation.kind);
        // What came before the bad byte is still to be read; the next read fails.
        if violation.offset == 0 {
            self.read_refusal(buf)
        } else {
            Ok(())
        }
    }

    fn read_refusal(&mut self, buf: &mut ReadBuf<'_>) -> io::Result<()> {
        match &mut self.refusal {
            Refusal::None => {}
            Refusal::Head(left) => {
                let (now, later) = left.split_at(left.len().min(buf.remaining()));
                buf.put_slice(now);
                *left = later;
            }
            Refusal::Body(kind) => return Err(io::Error::new(io::ErrorKind::InvalidData, *kind)),
        }
        Ok(())
    }

    /// The client is silent: only a head that has begun has a deadline.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(timeout) = self.head_timeout.filter(|_| self.framing.is_inside_head()) else {
            return Poll::Pending;
        };
        let deadline = self
            .deadline
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        ready!(deadline.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the request head is not complete in time",
        )))
    }
}

impl<S: AsyncRead + Unpin> ClientIo<S> {
    /// Throws away what has already come. Closing a socket with unread bytes resets the connection, and a reset can
    /// take away the response (a 400, say) before the client has read it.
    fn discard_received(&mut self, cx: &mut Context<'_>) {
        let mut space = [0; DISCARDED_READ_BYTES];
        for _ in 0..MAX_DISCARDED_READS {
            let mut buf = ReadBuf::new(&mut space);
            let read = Pin::new(&mut self.stream).poll_read(cx, &mut buf);
            if !matches!(read, Poll::Ready(Ok(()))) || buf.filled().is_empty() {
                return;
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ClientIo<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !matches!(this.refusal, Refusal::None) {
            return Poll::Ready(this.read_refusal(buf));
        }
        let before = buf.filled().len();
        match Pin::new(&mut this.stream).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => Poll::Ready(this.inspect(buf, before)),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => this.poll_deadline(cx),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ClientIo<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
        // hyper is done with an HTTP/1 connection that it shuts down; a tunnel may still be read.
        if !this.framing.is_unchecked() {
            this.discard_received(cx);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests;
