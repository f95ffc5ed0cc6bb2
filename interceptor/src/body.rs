//! The two body types of the data path: concrete, never boxed, with what must happen at the end of the body inside.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::Notify;
use tokio::time::Sleep;

use crate::proxy::record::Record;
use crate::upstream::Connection;

/// What goes wrong while a body is passed on: the connection it goes to is closed then.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A response body on its way to the client. Dropping it ends the request: the connection to the endpoint goes back to
/// its pool when it can be used again, the request is no longer pending, and it is recorded.
pub struct ResponseBody {
    content: Content,
    /// The whole request's deadline, when it has one.
    deadline: Option<Pin<Box<Sleep>>>,
    connection: Option<Connection>,
    record: Option<Record>,
}

enum Content {
    Own(Option<Bytes>),
    Upstream(Incoming),
}

impl ResponseBody {
    /// A body of our own.
    pub fn own(content: impl Into<Bytes>) -> Self {
        Self {
            content: Content::Own(Some(content.into()).filter(|bytes: &Bytes| !bytes.is_empty())),
            deadline: None,
            connection: None,
            record: None,
        }
    }

    /// An endpoint's body; `connection` is the one it comes from.
    pub fn upstream(body: Incoming, connection: Connection, deadline: Option<tokio::time::Instant>) -> Self {
        Self {
            content: Content::Upstream(body),
            deadline: deadline.map(|at| Box::pin(tokio::time::sleep_until(at))),
            connection: Some(connection),
            record: None,
        }
    }

    /// Keeps a body of our own back, as an answer to HEAD must, and says how long it would have been.
    pub fn withhold(&mut self) -> Option<u64> {
        match &mut self.content {
            Content::Own(content) => Some(content.take().map_or(0, |content| content.len() as u64)),
            Content::Upstream(_) => None,
        }
    }

    /// The request is recorded as ended when this body is dropped.
    pub fn recorded(mut self, record: Record) -> Self {
        self.record = Some(record);
        self
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(deadline) = &mut self.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Some(Err("the request's deadline has passed".into())));
        }
        match &mut self.content {
            Content::Own(bytes) => {
                let bytes = bytes.take();
                if let (Some(bytes), Some(record)) = (&bytes, &mut self.record) {
                    record.passed(bytes.len());
                }
                Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
            }
            Content::Upstream(body) => {
                let frame = std::task::ready!(Pin::new(body).poll_frame(cx));
                if let (Some(Ok(frame)), Some(record)) = (&frame, &mut self.record) {
                    record.passed(frame.data_ref().map_or(0, Bytes::len));
                }
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Own(bytes) => bytes.is_none(),
            Content::Upstream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Own(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Content::Upstream(body) => body.size_hint(),
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.give_back();
        }
    }
}

/// A request body on its way to an endpoint.
pub enum RequestBody {
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
pub struct Sent {
    done: Notify,
}

impl Sent {
    /// Waits until it has. For one waiter.
    pub async fn wait(&self) {
        self.done.notified().await;
    }
}

impl RequestBody {
    /// Wraps the client's body.
    pub fn new(body: Incoming) -> Self {
        if body.is_end_stream() {
            return Self::Empty;
        }
        Self::Client {
            body,
            sent: Arc::default(),
        }
    }

    /// The mark; `None` when there is nothing to send.
    pub fn sent(&self) -> Option<Arc<Sent>> {
        match self {
            Self::Empty => None,
            Self::Client { sent, .. } => Some(sent.clone()),
        }
    }

    /// Whether there is no body.
    pub fn is_empty(&self) -> bool {
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
