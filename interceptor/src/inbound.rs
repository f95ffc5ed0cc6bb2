//! The client's side of a connection: what hyper may read from it, and how long a request head may take.
//!
//! # Layout
//!
//! - [`framing`]: follows the client's bytes and finds what must not be let through.
//! - [`ClientIo`]: the stream hyper serves. It stops such bytes, so that hyper answers 400 and closes.
//! - [`http2`]: the stream that HTTP/2 is served on, which counts frames by the rules of [`flood`].
//! - [`rewrite`]: valid heads that hyper would refuse.
//! - [`client`]: what is known of a connection, for the requests that come over it.
//!
//! # Half-closed connections
//!
//! A client may end its side after its request and still read the answer, as `nc -N` does. Its FIN cannot be told from
//! the one of a client that has gone. What tells them apart is when it comes: within [`HALF_CLOSE`] of the request's last
//! bytes it is a half-close, and the request is answered; later it is a client that leaves, and its request ends at once.

pub mod client;
mod flood;
pub mod framing;
pub(crate) mod http2;
pub(crate) mod rewrite;

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use flood::FrameKind;
use framing::{Framing, Violation, ViolationKind};
use rewrite::{ExtraHeaders, Rewrite};

/// The largest request head we take, in bytes. hyper enforces it (`max_header_size`) and answers 431.
pub const MAX_HEAD_BYTES: usize = 64 * 1024;

/// How soon after a request a FIN is a half-close. Both leave the client's machine within microseconds of each other;
/// nobody who gives up waiting is that quick.
pub const HALF_CLOSE: Duration = Duration::from_millis(10);

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
    rewrite: Option<Box<Rewrite>>,
    /// When the client has sent something last.
    last_read: Instant,
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
    /// The client has closed its side and still reads.
    half_closed: AtomicBool,
    /// Requests whose head has lines that went around hyper, by number; the length is kept apart for a quick look.
    extra: Mutex<Vec<(u64, ExtraHeaders)>>,
    extras: AtomicUsize,
    /// Why the connection is ended, when it is.
    refused: OnceLock<Refused>,
}

/// What a client is refused for before it has sent a whole request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("{0}")]
    Violation(ViolationKind),
    #[error("a header line is malformed")]
    HeaderLine,
    #[error("too many {0:?} frames")]
    Flood(FrameKind),
}

impl Observed {
    /// Whether what follows the request of this number (the first is 1) is not checked, so that it must not be read as
    /// HTTP.
    pub fn asks_for_upgrade(&self, number: u64) -> bool {
        self.upgrade.load(Ordering::Relaxed) && number >= self.heads.load(Ordering::Relaxed)
    }

    /// Why the connection is ended, when its bytes are the reason.
    pub(crate) fn refused(&self) -> Option<Refused> {
        self.refused.get().copied()
    }

    fn refuse(&self, refused: Refused) {
        let _ = self.refused.set(refused);
    }

    /// Whether the client has closed its side after the request of this number, and waits for its answer.
    pub fn is_last(&self, number: u64) -> bool {
        self.half_closed.load(Ordering::Relaxed) && number >= self.heads.load(Ordering::Relaxed)
    }

    /// The client has closed its side so soon after its request that it waits for the answer.
    pub fn half_close(&self) {
        self.half_closed.store(true, Ordering::Relaxed);
    }

    /// Takes the header lines of the request of this number that hyper was not given.
    pub fn take_extra(&self, number: u64) -> Option<ExtraHeaders> {
        if self.extras.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut extra = self.extra.lock();
        let at = extra.iter().position(|(of, _)| *of == number)?;
        self.extras.fetch_sub(1, Ordering::Relaxed);
        Some(extra.swap_remove(at).1)
    }

    fn add_extra(&self, number: u64, lines: ExtraHeaders) {
        if !lines.is_empty() {
            self.extras.fetch_add(1, Ordering::Relaxed);
            self.extra.lock().push((number, lines));
        }
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
            rewrite: None,
            last_read: Instant::now(),
            head_timeout,
            deadline: None,
        }
    }

    /// Checks the bytes of `buf` from `before` on.
    fn inspect(&mut self, buf: &mut ReadBuf<'_>, before: usize) -> io::Result<()> {
        let heads = self.framing.heads();
        let checked = self.framing.push(&buf.filled()[before..]);
        self.note_heads(heads);
        match checked {
            Ok(None) => Ok(()),
            Ok(Some((offset, from))) => {
                let rest = buf.filled()[before + offset..].to_vec();
                buf.set_filled(before + offset);
                let ahead = match self.rewrite.take().map(|rewrite| *rewrite) {
                    Some(Rewrite::Ready { ahead, .. }) => ahead,
                    _ => Bytes::new(),
                };
                let head = Vec::new();
                self.rewrite = Some(Box::new(Rewrite::Collecting { from, head }));
                self.collect(&[&rest, &ahead[..]].concat());
                Ok(())
            }
            Err(violation) => self.refuse(violation, buf, before),
        }
    }

    /// `before` are the complete heads as they were.
    fn note_heads(&mut self, before: u64) {
        if self.framing.heads() != before {
            self.deadline = None;
            self.observed.update(&self.framing);
        }
    }

    /// Adds to the head that is rewritten, up to its end; what has come after it is followed later.
    fn collect(&mut self, bytes: &[u8]) {
        let Some(Rewrite::Collecting { from, mut head }) = self.rewrite.take().map(|rewrite| *rewrite) else {
            return;
        };
        let heads = self.framing.heads();
        let mut taken = 0;
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            if let Err(violation) = self.framing.push(line) {
                return self.refuse_head(Refused::Violation(violation.kind));
            }
            taken += line.len();
            if self.framing.heads() != heads {
                break;
            }
        }
        head.extend_from_slice(&bytes[..taken]);
        let rewritten = if self.framing.heads() != heads {
            let Some((ready, extra)) = rewrite::rewrite(from, &head) else {
                return self.refuse_head(Refused::HeaderLine);
            };
            self.observed.add_extra(self.framing.heads(), extra);
            self.note_heads(heads);
            let (ready, ahead) = (ready.into(), Bytes::copy_from_slice(&bytes[taken..]));
            Rewrite::Ready { ready, ahead }
        } else if head.len() > MAX_HEAD_BYTES {
            // hyper says so.
            let (ready, ahead) = (head.into(), Bytes::new());
            Rewrite::Ready { ready, ahead }
        } else {
            Rewrite::Collecting { from, head }
        };
        self.rewrite = Some(Box::new(rewritten));
    }

    fn refuse_head(&mut self, refused: Refused) {
        self.observed.refuse(refused);
        self.refusal = Refusal::Head(POISON);
    }

    /// Reads what is ready of a rewritten head and what has come behind it. Whether something was read.
    fn read_rewritten(&mut self, buf: &mut ReadBuf<'_>) -> io::Result<bool> {
        let before = buf.filled().len();
        let Some(Rewrite::Ready { ready, ahead }) = self.rewrite.as_deref_mut() else {
            return Ok(false);
        };
        if !ready.is_empty() {
            Rewrite::give(ready, buf);
            return Ok(true);
        }
        if ahead.is_empty() {
            self.rewrite = None;
            return Ok(false);
        }
        Rewrite::give(ahead, buf);
        self.inspect(buf, before)?;
        Ok(buf.filled().len() > before)
    }

    fn refuse(&mut self, violation: Violation, buf: &mut ReadBuf<'_>, before: usize) -> io::Result<()> {
        buf.set_filled(before + violation.offset);
        self.observed.refuse(Refused::Violation(violation.kind));
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
    /// Whether hyper is to be told of it: not when all that came is part of a head that is rewritten.
    fn poll_read_stream(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<bool>> {
        let before = buf.filled().len();
        match Pin::new(&mut self.stream).poll_read(cx, buf) {
            Poll::Ready(Ok(())) if buf.filled().len() == before => self.poll_end(),
            Poll::Ready(Ok(())) => {
                self.last_read = Instant::now();
                self.inspect(buf, before)?;
                Poll::Ready(Ok(buf.filled().len() > before))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                ready!(self.poll_deadline(cx))?;
                Poll::Pending
            }
        }
    }

    /// The client has closed its side: hyper is told, unless the client still waits for an answer.
    fn poll_end(&mut self) -> Poll<io::Result<bool>> {
        let observed = &self.observed;
        if self.framing.is_between_requests() && self.framing.heads() > 0 {
            if self.last_read.elapsed() < HALF_CLOSE {
                observed.half_close();
            }
            if observed.half_closed.load(Ordering::Relaxed) {
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(true))
    }

    /// Reads on in a head that is rewritten: how many bytes.
    fn poll_collect(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut space = [0; DISCARDED_READ_BYTES];
        let mut buf = ReadBuf::new(&mut space);
        match Pin::new(&mut self.stream).poll_read(cx, &mut buf) {
            Poll::Ready(read) => {
                read?;
                self.collect(buf.filled());
                Poll::Ready(Ok(buf.filled().len()))
            }
            Poll::Pending => {
                ready!(self.poll_deadline(cx))?;
                Poll::Pending
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ClientIo<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if !matches!(this.refusal, Refusal::None) {
                return Poll::Ready(this.read_refusal(buf));
            }
            let is_read = match this.rewrite.as_deref() {
                None => ready!(this.poll_read_stream(cx, buf))?,
                Some(Rewrite::Collecting { .. }) => ready!(this.poll_collect(cx))? == 0,
                Some(Rewrite::Ready { .. }) => this.read_rewritten(buf)?,
            };
            if is_read {
                return Poll::Ready(Ok(()));
            }
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
            discard_received(&mut this.stream, cx);
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

/// Throws away what has already come. Closing a socket with unread bytes resets the connection, and a reset can take
/// away the response (a 400, say) before the client has read it.
fn discard_received(stream: &mut (impl AsyncRead + Unpin), cx: &mut Context<'_>) {
    let mut space = [0; DISCARDED_READ_BYTES];
    for _ in 0..MAX_DISCARDED_READS {
        let mut buf = ReadBuf::new(&mut space);
        let read = Pin::new(&mut *stream).poll_read(cx, &mut buf);
        if !matches!(read, Poll::Ready(Ok(()))) || buf.filled().is_empty() {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
