//! The body of a response: concrete, never boxed. Dropping it is the end of the request.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Sleep;

use crate::proxy::record::Record;
use crate::upstream::connection::Connection;
use crate::upstream::trailers;

/// What goes wrong while a body is passed on: the connection it goes to is closed then.
pub(crate) type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A response body on its way to the client. Dropping it ends the request: the connection to the endpoint goes back to
/// its pool when it can be used again, the request is no longer pending, and it is recorded.
pub(crate) struct ResponseBody {
    content: Content,
    /// The whole request's deadline, when it has one.
    deadline: Option<Pin<Box<Sleep>>>,
    connection: Option<Connection>,
    record: Option<Record>,
}

enum Content {
    Local(Option<Bytes>),
    Upstream(Incoming),
    /// None, where `Content-Length` says how long the body of another response is: hyper's server writes the header
    /// only if a body is announced, and asks for nothing of it.
    Announced(u64),
}

impl ResponseBody {
    /// A body that this interceptor made.
    pub(crate) fn local(content: impl Into<Bytes>) -> Self {
        Self {
            content: Content::Local(Some(content.into()).filter(|bytes: &Bytes| !bytes.is_empty())),
            deadline: None,
            connection: None,
            record: None,
        }
    }

    /// An endpoint's body; `connection` is the one it comes from.
    pub(crate) fn upstream(body: Incoming, connection: Connection, deadline: Option<tokio::time::Instant>) -> Self {
        Self {
            content: Content::Upstream(body),
            deadline: deadline.map(|at| Box::pin(tokio::time::sleep_until(at))),
            connection: Some(connection),
            record: None,
        }
    }

    /// Keeps a local body back, as a response to HEAD must, and returns its length.
    pub(crate) fn withhold(&mut self) -> Option<u64> {
        match &mut self.content {
            Content::Local(content) => Some(content.take().map_or(0, |content| content.len() as u64)),
            Content::Upstream(_) | Content::Announced(_) => None,
        }
    }

    /// Lets HTTP/1 clients see the `Content-Length` of a 304 (RFC 9110 section 8.6).
    pub(crate) fn announce(&mut self, length: u64) {
        self.content = Content::Announced(length);
    }

    /// The request is recorded as ended when this body is dropped.
    pub(crate) fn recorded(mut self, record: Record) -> Self {
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
            Content::Local(bytes) => {
                let bytes = bytes.take();
                if let (Some(bytes), Some(record)) = (&bytes, &mut self.record) {
                    record.add_bytes(bytes.len());
                }
                Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
            }
            Content::Upstream(body) => {
                let frame = std::task::ready!(Pin::new(body).poll_frame(cx));
                if let (Some(Ok(frame)), Some(record)) = (&frame, &mut self.record) {
                    record.add_bytes(frame.data_ref().map_or(0, Bytes::len));
                }
                Poll::Ready(frame.map(|frame| frame.map(trailers::filter).map_err(Into::into)))
            }
            Content::Announced(_) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Local(bytes) => bytes.is_none(),
            Content::Upstream(body) => body.is_end_stream(),
            Content::Announced(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Local(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Content::Upstream(body) => body.size_hint(),
            Content::Announced(length) => SizeHint::with_exact(*length),
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
