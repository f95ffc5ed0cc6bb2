//! The body of a request: concrete, never boxed, with a mark that is set when all of it has been passed on.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Version, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

/// How long a client may go on sending a body after its request was answered without it (nginx's `lingering_time`).
const LINGER_LIMIT: Duration = Duration::from_secs(30);
/// How long it may be silent in that time (nginx's `lingering_timeout`).
const LINGER_SILENCE: Duration = Duration::from_secs(5);

/// Bytes of an HTTP/1 body that are read while its request is held: the FIN of a client that leaves comes behind them.
/// Envoy buffers as many.
const MAX_AHEAD: u64 = 1 << 20;

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
    /// What was read while the request was held.
    ahead: VecDeque<BodyFrame>,
    /// `None` when it has been read to its end.
    body: Option<Incoming>,
    sent: Sent,
    http1: bool,
    linger: bool,
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
                ahead: VecDeque::new(),
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
    pub(crate) async fn read_ahead(&mut self) {
        if let Self::Client(upload) = self {
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
        let frame = match self.ahead.pop_front() {
            Some(frame) => Some(frame),
            None => ready!(self.poll_body(cx)),
        };
        if self.is_end() {
            self.sent.done.cancel();
        }
        Poll::Ready(frame)
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

    /// Reads up to [`MAX_AHEAD`] bytes. Never ends.
    fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.linger && self.body.is_some() && self.ahead_bytes() < MAX_AHEAD {
            let frame = ready!(self.poll_body(cx));
            self.ahead.extend(frame);
        }
        Poll::Pending
    }

    fn ahead_bytes(&self) -> u64 {
        let data = self.ahead.iter().filter_map(|frame| frame.as_ref().ok()?.data_ref());
        data.map(|data| data.len() as u64).sum()
    }

    fn is_end(&self) -> bool {
        self.body.is_none() && self.ahead.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let body = self.body.as_ref();
        let mut hint = body.map_or_else(|| SizeHint::with_exact(0), Body::size_hint);
        let ahead = self.ahead_bytes();
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + ahead);
        }
        hint.set_lower(hint.lower() + ahead);
        hint
    }
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
}
