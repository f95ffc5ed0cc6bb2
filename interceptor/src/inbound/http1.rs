//! The stream that HTTP/1 is served on.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::framing::{Framing, Violation, ViolationKind};
use super::observed::{Observed, Refused};
use super::rewrite::{self, Rewrite};
use super::{DISCARDED_READ_BYTES, HALF_CLOSE, discard_received, fill};

/// What hyper reads in place of a bad byte in a request head. hyper refuses a NUL anywhere in a head, but parses the
/// head only once it has read a blank line.
const POISON: &[u8] = b"\0\r\n\r\n";

/// A client's HTTP/1 connection without the bytes of malformed messages.
///
/// - In a request head, the first bad byte and all after it are replaced by something hyper answers 400 to, then by the
///   end of the stream. A head that is too large is answered 431.
/// - In a request body, the read fails with [`io::ErrorKind::InvalidData`] and the [`ViolationKind`] inside: the body's
///   reader gets an error, never an end of the body. hyper closes the connection after the response, but does not
///   announce it: whoever answers such a request adds `Connection: close`.
/// - A request head that stays incomplete for `head_timeout` fails the read with [`io::ErrorKind::TimedOut`]. A
///   connection that is silent before its first request or between two is not limited.
///
/// See [`framing`] for what must hold when a client asks for an upgrade.
#[derive(Debug)]
pub(crate) struct Http1Io<S> {
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

#[derive(Debug)]
enum Refusal {
    None,
    /// The unread rest of [`POISON`].
    Head(&'static [u8]),
    /// hyper reads `x` until its own limit is reached, and answers 431. This is never behind the CR of a line that
    /// hyper has read: a head that is not rewritten has reached that limit by now.
    LargeHead,
    Body(ViolationKind),
}

impl<S> Http1Io<S> {
    /// A new connection. `None` as `head_timeout` lets a request head take any time.
    pub(crate) fn new(stream: S, head_timeout: Option<Duration>, observed: Arc<Observed>) -> Self {
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
        self.publish(heads);
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

    /// Publishes what the framing knows; `heads` is the former number of complete heads.
    fn publish(&mut self, heads: u64) {
        if self.framing.heads() != heads {
            self.deadline = None;
        }
        let ahead = match self.rewrite.as_deref() {
            Some(Rewrite::Ready { ahead, .. }) => ahead.len() as u64,
            _ => 0,
        };
        self.observed.update(&self.framing, ahead);
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
            let (ready, ahead) = (ready.into(), Bytes::copy_from_slice(&bytes[taken..]));
            Rewrite::Ready { ready, ahead }
        } else {
            Rewrite::Collecting { from, head }
        };
        self.rewrite = Some(Box::new(rewritten));
        self.publish(heads);
    }

    fn refuse_head(&mut self, refused: Refused) {
        self.observed.refuse(refused);
        self.refusal = match refused {
            Refused::Violation(ViolationKind::HeadTooLarge) => Refusal::LargeHead,
            _ => Refusal::Head(POISON),
        };
    }

    /// Reads from the rewritten head, then the bytes that arrived with it. Returns whether anything was read.
    fn read_rewritten(&mut self, buf: &mut ReadBuf<'_>) -> io::Result<bool> {
        let before = buf.filled().len();
        let Some(Rewrite::Ready { ready, ahead }) = self.rewrite.as_deref_mut() else {
            return Ok(false);
        };
        if !ready.is_empty() {
            fill(ready, buf);
            return Ok(true);
        }
        if ahead.is_empty() {
            self.rewrite = None;
            return Ok(false);
        }
        fill(ahead, buf);
        self.inspect(buf, before)?;
        Ok(buf.filled().len() > before)
    }

    fn refuse(&mut self, violation: Violation, buf: &mut ReadBuf<'_>, before: usize) -> io::Result<()> {
        buf.set_filled(before + violation.offset);
        if !self.framing.is_inside_body() {
            self.refuse_head(Refused::Violation(violation.kind));
            return self.read_refusal(buf);
        }
        self.observed.refuse(Refused::Violation(violation.kind));
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
            Refusal::Head(left) => fill(left, buf),
            Refusal::LargeHead => {
                let space = buf.initialize_unfilled();
                space.fill(b'x');
                let filled = space.len();
                buf.advance(filled);
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

impl<S: AsyncRead + Unpin> Http1Io<S> {
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
        let is_complete = self.framing.is_between_requests() || self.framing.is_unchecked();
        if is_complete && self.framing.heads() > 0 && !observed.has_switched() {
            if self.silent_since.is_none_or(|since| since.elapsed() < HALF_CLOSE) {
                observed.half_close();
            }
            if observed.is_half_closed() {
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

impl<S: AsyncRead + Unpin> AsyncRead for Http1Io<S> {
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

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Http1Io<S> {
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

#[cfg(test)]
mod tests;
