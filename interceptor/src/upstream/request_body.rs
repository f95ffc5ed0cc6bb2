//! The body of a request: concrete, never boxed, with a mark that is set when all of it has been passed on.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Version, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::upstream::trailers;

/// How long a client may go on sending a body after its request was answered without it (nginx's `lingering_time`).
const LINGER_LIMIT: Duration = Duration::from_secs(30);
/// How long it may be silent in that time (nginx's `lingering_timeout`).
const LINGER_SILENCE: Duration = Duration::from_secs(5);

/// Bytes of an HTTP/1 body that are read while its request is held: the FIN of a client that leaves comes behind them.
/// Envoy buffers as many.
const MAX_AHEAD: u64 = 1 << 20;
/// Pieces of such a body. A piece may be one byte, and takes some hundred bytes of memory.
const MAX_AHEAD_FRAMES: usize = 1 << 10;
/// A piece that is smaller is copied: it would keep the whole buffer that it was read into, 8 KiB or more.
const SMALL_FRAME: usize = 1 << 12;
/// Bodies of one worker that are read ahead at the same time, so that held uploads cannot use up the memory.
const MAX_READ_AHEAD: usize = 32;

/// A request body on its way to an endpoint.
pub(crate) enum RequestBody {
    Empty,
    Client(Upload),
}

type BodyFrame = Result<Frame<Bytes>, hyper::Error>;

/// A client's body that is not empty. When it is dropped before its end, the rest is read and thrown away for a while:
/// closing the connection over unread bytes would reset it, and the client might never read the response (RFC 9112
/// section 9.6).
pub(crate) struct Upload {
    ahead: Ahead,
    /// `None` when it has been read to its end.
    body: Option<Incoming>,
    sent: Sent,
    http1: bool,
    linger: bool,
}

/// What was read of a body while its request was held.
#[derive(Default)]
struct Ahead {
    frames: VecDeque<BodyFrame>,
    bytes: u64,
    /// Held until it is empty again.
    permit: Option<OwnedSemaphorePermit>,
}

/// Permits to read bodies ahead, shared by the requests of a worker.
#[derive(Clone)]
pub(crate) struct ReadAhead(Arc<Semaphore>);

impl Default for ReadAhead {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_READ_AHEAD)))
    }
}

/// Is set when a request body has been passed on completely, or never will be.
#[derive(Clone, Default)]
pub(crate) struct Sent {
    done: CancellationToken,
}

impl Sent {
    /// Any number of tasks may wait, before and after.
    pub(crate) async fn wait(&self) {
        self.done.cancelled().await;
    }
}

impl RequestBody {
    pub(crate) fn wrap(request: Request<Incoming>) -> Request<Self> {
        // HTTP/2 ends one stream by itself. A client that waits for `100 Continue` has sent nothing yet, and reading
        // its body would ask for it.
        let http1 = request.version() < Version::HTTP_2;
        let linger = http1 && !request.headers().contains_key(header::EXPECT);
        request.map(|body| {
            if body.is_end_stream() {
                return Self::Empty;
            }
            Self::Client(Upload {
                ahead: Ahead::default(),
                body: Some(body),
                sent: Sent::default(),
                http1,
                linger,
            })
        })
    }

    /// `None` when there is nothing to send.
    pub(crate) fn sent(&self) -> Option<Sent> {
        match self {
            Self::Empty => None,
            Self::Client(upload) => Some(upload.sent.clone()),
        }
    }

    /// Reads some of the body of a held request, and never ends. HTTP/2 has a window for each stream instead.
    pub(crate) async fn read_ahead(&mut self, permits: &ReadAhead) {
        if let Self::Client(upload) = self
            && upload.linger
            && upload.ahead.may_begin(permits)
        {
            poll_fn(|cx| upload.poll_ahead(cx)).await;
        }
        std::future::pending::<()>().await;
    }

    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }
}

impl Upload {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<BodyFrame>> {
        let frame = match self.ahead.pop() {
            Some(frame) => Some(frame),
            None => ready!(self.poll_body(cx)),
        };
        if self.is_end() {
            self.sent.done.cancel();
        }
        Poll::Ready(frame.map(|frame| frame.map(trailers::filter)))
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<BodyFrame>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let frame = ready!(Pin::new(&mut *body).poll_frame(cx));
        self.linger = self.http1;
        if frame.as_ref().is_none_or(Result::is_err) || body.is_end_stream() {
            self.body = None;
        }
        Poll::Ready(frame)
    }

    /// Reads until there is enough. Never ends.
    fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.body.is_some() && self.ahead.has_room() {
            if let Some(frame) = ready!(self.poll_body(cx)) {
                self.ahead.push(frame);
            }
        }
        Poll::Pending
    }

    fn is_end(&self) -> bool {
        self.body.is_none() && self.ahead.frames.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let body = self.body.as_ref();
        let mut hint = body.map_or_else(|| SizeHint::with_exact(0), Body::size_hint);
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + self.ahead.bytes);
        }
        hint.set_lower(hint.lower() + self.ahead.bytes);
        hint
    }
}

impl Ahead {
    fn may_begin(&mut self, permits: &ReadAhead) -> bool {
        self.permit = self
            .permit
            .take()
            .or_else(|| permits.0.clone().try_acquire_owned().ok());
        self.permit.is_some()
    }

    fn has_room(&self) -> bool {
        self.bytes < MAX_AHEAD && self.frames.len() < MAX_AHEAD_FRAMES
    }

    fn push(&mut self, frame: BodyFrame) {
        self.bytes += data_length(&frame);
        let own = |data: Bytes| match data.len() {
            0..SMALL_FRAME => Bytes::copy_from_slice(&data),
            _ => data,
        };
        self.frames.push_back(frame.map(|frame| frame.map_data(own)));
    }

    fn pop(&mut self) -> Option<BodyFrame> {
        let frame = self.frames.pop_front();
        if let Some(frame) = &frame {
            self.bytes -= data_length(frame);
        } else {
            self.permit = None;
        }
        frame
    }
}

fn data_length(frame: &BodyFrame) -> u64 {
    let data = frame.as_ref().ok().and_then(Frame::data_ref);
    data.map_or(0, |data| data.len() as u64)
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Client(upload) => upload.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Client(upload) => upload.is_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Client(upload) => upload.size_hint(),
            Self::Empty => SizeHint::with_exact(0),
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.sent.done.cancel();
        // There is no runtime any more when the worker's last tasks are dropped.
        if let (true, Some(body), Ok(runtime)) = (self.linger, self.body.take(), Handle::try_current()) {
            runtime.spawn(discard(body));
        }
    }
}

async fn discard(mut body: Incoming) {
    let rest = async {
        loop {
            let frame = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx));
            match tokio::time::timeout(LINGER_SILENCE, frame).await {
                Ok(Some(Ok(_))) => {}
                _ => return,
            }
        }
    };
    let _ = tokio::time::timeout(LINGER_LIMIT, rest).await;
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn all_that_wait_for_the_end_of_a_body_notice_it() {
        let sent = Sent::default();
        let (first, second) = (sent.wait(), sent.wait());
        sent.done.cancel();
        assert_eq!((first.now_or_never(), second.now_or_never()), (Some(()), Some(())));
    }

    fn chunk(length: usize) -> BodyFrame {
        Ok(Frame::data(Bytes::from(vec![b'x'; length])))
    }

    #[test]
    fn a_body_is_read_ahead_up_to_a_number_of_bytes_and_of_pieces() {
        let mut ahead = Ahead::default();
        for _ in 0..MAX_AHEAD_FRAMES {
            assert!(ahead.has_room());
            ahead.push(chunk(1));
        }
        assert!(!ahead.has_room(), "small pieces take memory, too");

        let mut ahead = Ahead::default();
        ahead.push(chunk(usize::try_from(MAX_AHEAD).unwrap() - 1));
        assert!(ahead.has_room());
        ahead.push(chunk(1));
        assert!(!ahead.has_room());
        while ahead.pop().is_some() {}
        assert_eq!(ahead.bytes, 0);
    }

    #[test]
    fn a_small_piece_does_not_keep_the_buffer_that_it_was_read_into() {
        let mut ahead = Ahead::default();
        let buffer = Bytes::from(vec![b'x'; 8192]);
        ahead.push(Ok(Frame::data(buffer.slice(..10))));
        assert!(buffer.is_unique());
        ahead.push(Ok(Frame::data(buffer.slice(..SMALL_FRAME))));
        assert!(!buffer.is_unique(), "a large one is not copied");
    }

    #[test]
    fn only_some_bodies_are_read_ahead_until_they_have_been_passed_on() {
        let permits = ReadAhead::default();
        let mut bodies: Vec<Ahead> = (0..=MAX_READ_AHEAD).map(|_| Ahead::default()).collect();
        for body in &mut bodies[..MAX_READ_AHEAD] {
            assert!(body.may_begin(&permits));
            assert!(body.may_begin(&permits), "a second wait needs no second permit");
        }
        assert!(!bodies[MAX_READ_AHEAD].may_begin(&permits));
        assert!(bodies[0].pop().is_none());
        assert!(bodies[MAX_READ_AHEAD].may_begin(&permits));
        drop(bodies);
        assert_eq!(permits.0.available_permits(), MAX_READ_AHEAD);
    }
}
