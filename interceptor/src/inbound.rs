//! Client connections: checks the bytes that clients send before hyper and h2 read them.
//!
//! # Layout
//!
//! - [`http1`]: the stream that HTTP/1 is served on. It stops bytes that must not pass, so that hyper answers 400 and
//!   closes.
//! - [`framing`]: follows the bytes of HTTP/1 and finds the first one that must not pass.
//! - [`content_length`]: the value of `Content-Length`, also of responses.
//! - [`rewrite`]: valid heads that hyper would refuse.
//! - [`http2`]: the stream that HTTP/2 is served on, which counts frames by the rules of [`flood`].
//! - [`observed`]: what the bytes of a connection have shown; [`client`]: a connection, as its requests see it.
//!
//! # Half-closed connections
//!
//! A client may close its sending side after a request and still read the response, as `nc -N` does. Its FIN looks like
//! that of a client that leaves. The difference is the time: within [`HALF_CLOSE`] of the last bytes of a complete
//! request it is a half-close, and the request is answered; later it is a client that leaves, and its request ends at
//! once. A client that closes its socket right after a request looks like a half-close, too, so such a request is held
//! for at most [`HALF_CLOSED_HOLD`]. After a response that switches protocols, a FIN is a matter of the tunnel.
//!
//! hyper does not read while a request's body waits to be read, or while it has unread bytes behind a request; during a
//! hold, [`client`] then watches the socket.

pub(crate) mod client;
pub(crate) mod content_length;
mod flood;
mod framing;
pub(crate) mod http1;
pub(crate) mod http2;
mod observed;
mod rewrite;

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Buf;
use tokio::io::{AsyncRead, ReadBuf};

/// The largest request head, in bytes as the client sends it. More is answered 431. [`framing`] counts; hyper has the
/// same limit (`max_header_size`) for the head that it reads, which percent-encoding can make larger.
pub(crate) const MAX_HEAD_BYTES: usize = 64 * 1024;

/// A FIN within this time after a request is a half-close: such a client sends both within microseconds, and a client
/// that gives up is not that quick.
const HALF_CLOSE: Duration = Duration::from_millis(10);

/// The longest time that a request is held after a half-close: long enough for most cold starts, and short enough that
/// clients which have left do not keep a workload up.
const HALF_CLOSED_HOLD: Duration = Duration::from_secs(30);

/// Limits for the unread bytes that are discarded when a connection is shut down.
const MAX_DISCARDED_READS: usize = 16;
const DISCARDED_READ_BYTES: usize = 4096;

/// Moves as many bytes as fit into `buf`.
fn fill(bytes: &mut impl Buf, buf: &mut ReadBuf<'_>) {
    let moved = bytes.chunk().len().min(buf.remaining());
    buf.put_slice(&bytes.chunk()[..moved]);
    bytes.advance(moved);
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
