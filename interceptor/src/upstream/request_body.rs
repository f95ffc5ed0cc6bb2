//! The body of a request: concrete, never boxed, with a mark that is set when all of it has been handed on.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::Notify;

/// A request body on its way to an endpoint.
pub(crate) enum RequestBody {
    /// There is none.
    Empty,
    /// The client's, with a mark that is set when all of it has been handed on.
    Client {
        /// The body.
        body: Incoming,
        /// The mark.
        sent: Arc<Sent>,
    },
}

/// Tells when a request body has been handed on whole, or will never be.
#[derive(Default)]
pub(crate) struct Sent {
    done: Notify,
}

impl Sent {
    /// Waits until it has. For one waiter.
    pub(crate) async fn wait(&self) {
        self.done.notified().await;
    }
}

impl RequestBody {
    /// Wraps the client's body.
    pub(crate) fn new(body: Incoming) -> Self {
        if body.is_end_stream() {
            return Self::Empty;
        }
        Self::Client {
            body,
            sent: Arc::default(),
        }
    }

    /// The mark; `None` when there is nothing to send.
    pub(crate) fn sent(&self) -> Option<Arc<Sent>> {
        match self {
            Self::Empty => None,
            Self::Client { sent, .. } => Some(sent.clone()),
        }
    }

    /// Whether there is no body.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Client { body, sent } => {
                let frame = std::task::ready!(Pin::new(&mut *body).poll_frame(cx));
                if frame.is_none() || body.is_end_stream() {
                    sent.done.notify_one();
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Client { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Client { body, .. } => body.size_hint(),
        }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let Self::Client { sent, .. } = self {
            sent.done.notify_one();
        }
    }
}
