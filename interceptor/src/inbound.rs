//! Client connections: checks the bytes that clients send before hyper and h2 read them.
//!
//! # Layout
//!
//! - [`framing`]: follows the bytes of HTTP/1 and finds the first one that must not pass.
//! - [`ClientIo`]: the stream that HTTP/1 is served on. It stops such bytes, so that hyper answers 400 and closes.
//! - [`http2`]: the stream that HTTP/2 is served on, which counts frames by the rules of [`flood`].
//! - [`rewrite`]: valid heads that hyper would refuse.
//! - [`client`]: a connection, as its requests see it.
//!
//! # Half-closed connections
//!
//! A client may close its sending side after a request and still read the response, as `nc -N` does. Its FIN looks like
//! that of a client that leaves. The difference is the time: within [`HALF_CLOSE`] of the last bytes of a complete
//! request it is a half-close, and the request is answered; later it is a client that leaves, and its request ends at
//! once. A client that closes its socket right after a request looks like a half-close, too, so such a request is held
//! for at most [`HALF_CLOSED_HOLD`].

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
use tokio::sync::SetOnce;
use tokio::time::{Instant, Sleep};

use flood::FrameKind;
use framing::{Framing, Violation, ViolationKind};
use rewrite::{ExtraHeaders, Rewrite};

/// The largest request head, in bytes. hyper enforces it (`max_header_size`) and answers 431.
pub const MAX_HEAD_BYTES: usize = 64 * 1024;

/// A FIN within this time after a request is a half-close: such a client sends both within microseconds, and a client
/// that gives up is not that quick.
pub const HALF_CLOSE: Duration = Duration::from_millis(10);

/// The longest time that a request is held after a half-close: long enough for most cold starts, and short enough that
/// clients which have left do not keep a workload up.
pub(crate) const HALF_CLOSED_HOLD: Duration = Duration::from_secs(30);

/// What hyper reads in place of a bad byte in a request head. hyper refuses a NUL anywhere in a head, but parses the
/// head only once it has read a blank line.
const POISON: &[u8] = b"\0\r\n\r\n";

/// Limits for the unread bytes that are discarded when a connection is shut down.
const MAX_DISCARDED_READS: usize = 16;
const DISCARDED_READ_BYTES: usize = 4096;

/// A client's HTTP/1 connection without the bytes of malformed messages.
///
/// - In a request head, the first bad byte and all after it are replaced by something hyper answers 400 to, then by the
///   end of the stream.
/// - In a request body, the read fails with [`io::ErrorKind::InvalidData`] and the [`ViolationKind`] inside: the body's
///   reader gets an error, never an end of the body. hyper closes the connection after the response, but does not
///   announce it: whoever answers such a request adds `Connection: close`.
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
    /// When it was first seen that the client has sent nothing more, not even a FIN.
    silent_since: Option<Instant>,
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
    /// The last of these asks for an upgrade: no other head follows, and the rest is not checked.
    upgrade: AtomicBool,
    /// Bytes that have been read from the connection.
    received: AtomicU64,
    /// Bytes that the message of the last complete head needs at least, besides those that have been read.
    missing: AtomicU64,
    /// The client has closed its sending side and still reads.
    half_closed: SetOnce<()>,
    /// Header lines that went around hyper, by the number of their request.
    extra: Mutex<Vec<(u64, ExtraHeaders)>>,
    /// The length of `extra`, so that the lock is rarely taken.
    extra_length: AtomicUsize,
    /// Why the connection is ended, if the client is the reason.
    refused: OnceLock<Refused>,
}

/// Why a connection is ended before its bytes become a request.
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

    /// Why the connection is ended, if the client's bytes are the reason.
    pub(crate) fn refused(&self) -> Option<Refused> {
        self.refused.get().copied()
    }

    fn refuse(&self, refused: Refused) {
        let _ = self.refused.set(refused);
    }

    fn is_half_closed(&self) -> bool {
        self.half_closed.initialized()
    }

    /// Whether the client has closed its sending side after the request of this number.
    pub fn is_last(&self, number: u64) -> bool {
        self.is_half_closed() && number >= self.heads.load(Ordering::Relaxed)
    }

    /// The number of bytes that have been read from the connection.
    fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    fn add_received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes that the request of this number needs at least, besides those that have been read.
    fn missing(&self, number: u64) -> u64 {
        if number < self.heads.load(Ordering::Relaxed) {
            return 0;
        }
        self.missing.load(Ordering::Relaxed)
    }

    /// Notes that the client has closed its sending side and waits for the response.
    pub fn half_close(&self) {
        let _ = self.half_closed.set(());
    }

    /// Waits until the client has closed its sending side and waits for the response.
    pub(crate) async fn wait_half_closed(&self) {
        self.half_closed.wait().await;
    }

    /// Removes and returns the header lines of the request of this number that went around hyper.
    pub fn take_extra(&self, number: u64) -> Option<ExtraHeaders> {
        if self.extra_length.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut extra = self.extra.lock();
        let at = extra.iter().position(|(of, _)| *of == number)?;
        self.extra_length.fetch_sub(1, Ordering::Relaxed);
        Some(extra.swap_remove(at).1)
    }

    fn add_extra(&self, number: u64, lines: ExtraHeaders) {
        if !lines.is_empty() {
            self.extra_length.fetch_add(1, Ordering::Relaxed);
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
    /// The unread rest of [`POISON`].
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
            silent_since: None,
            head_timeout,
            deadline: None,
        }
    }

    /// Checks the bytes of `buf` from `before` on.
    fn inspect(&mut self, buf: &mut ReadBuf<'_>, before: usize) -> io::Result<()> {
        let heads = self.framing.heads();
        let checked = self.framing.push(&buf.filled()[before..]);
        self.publish_heads(heads);
        self.publish_missing();
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

    /// Publishes new complete heads; `before` is their former number.
    fn publish_heads(&mut self, before: u64) {
        if self.framing.heads() != before {
            self.deadline = None;
            self.observed.update(&self.framing);
        }
    }

    /// Publishes how much the current message lacks.
    fn publish_missing(&self) {
        let ahead = match self.rewrite.as_deref() {
            Some(Rewrite::Ready { ahead, .. }) => ahead.len() as u64,
            _ => 0,
        };
        let missing = self.framing.missing().saturating_sub(ahead);
        self.observed.missing.store(missing, Ordering::Relaxed);
    }

    /// Adds to the head that is being rewritten, up to its end. The bytes after it are checked when hyper reads them.
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
            self.publish_heads(heads);
            let (ready, ahead) = (ready.into(), Bytes::copy_from_slice(&bytes[taken..]));
            Rewrite::Ready { ready, ahead }
        } else if head.len() > MAX_HEAD_BYTES {
            // hyper answers 431.
            let (ready, ahead) = (head.into(), Bytes::new());
            Rewrite::Ready { ready, ahead }
        } else {
            Rewrite::Collecting { from, head }
        };
        self.rewrite = Some(Box::new(rewritten));
        self.publish_missing();
    }

    fn refuse_head(&mut self, refused: Refused) {
        self.observed.refuse(refused);
        self.refusal = Refusal::Head(POISON);
    }

    /// Reads from the rewritten head, then the bytes that arrived with it. Returns whether anything was read.
    fn read_rewritten(&mut self, buf: &mut ReadBuf<'_>) -> io::Result<bool> {
        let before = buf.filled().len();
        let Some(Rewrite::Ready { ready, ahead }) = self.rewrite.as_deref_mut() else {
            return Ok(false);
        };
        if !ready.is_empty() {
            Rewrite::fill(ready, buf);
            return Ok(true);
        }
        if ahead.is_empty() {
            self.rewrite = None;
            return Ok(false);
        }
        Rewrite::fill(ahead, buf);
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
        // hyper reads the bytes before the bad one; the next read fails.
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

    /// Only a head that has begun has a deadline.
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
            "the request head was not complete in time",
        )))
    }
}

impl<S: AsyncRead + Unpin> ClientIo<S> {
    /// Reads from the stream. Returns whether hyper must see the result: not if all bytes belong to a head that is
    /// being rewritten.
    fn poll_read_stream(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<bool>> {
        let before = buf.filled().len();
        match Pin::new(&mut self.stream).poll_read(cx, buf) {
            Poll::Ready(Ok(())) if buf.filled().len() == before => self.poll_end(),
            Poll::Ready(Ok(())) => {
                self.silent_since = None;
                self.observed.add_received(buf.filled().len() - before);
                self.inspect(buf, before)?;
                Poll::Ready(Ok(buf.filled().len() > before))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                self.silent_since.get_or_insert_with(Instant::now);
                ready!(self.poll_deadline(cx))?;
                Poll::Pending
            }
        }
    }

    /// Passes the end of the stream to hyper, unless the client still waits for a response.
    fn poll_end(&mut self) -> Poll<io::Result<bool>> {
        let observed = &self.observed;
        if self.framing.is_between_requests() && self.framing.heads() > 0 {
            if self.silent_since.is_none_or(|since| since.elapsed() < HALF_CLOSE) {
                observed.half_close();
            }
            if observed.half_closed.initialized() {
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(true))
    }

    /// Reads more of a head that is being rewritten. Returns the number of bytes.
    fn poll_collect(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut space = [0; DISCARDED_READ_BYTES];
        let mut buf = ReadBuf::new(&mut space);
        match Pin::new(&mut self.stream).poll_read(cx, &mut buf) {
            Poll::Ready(read) => {
                read?;
                self.observed.add_received(buf.filled().len());
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

/// Discards bytes that have already arrived. Closing a socket with unread bytes resets the connection, and the client
/// may lose a response (for example a 400) that it has not read yet.
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
