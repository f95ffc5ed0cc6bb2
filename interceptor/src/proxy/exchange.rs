//! One request over one connection, and why it may give no response.

use std::pin::{Pin, pin};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use tokio::time::Instant;

use crate::inbound::client::Client;
use crate::proxy::deadline::{earliest, is_past};
use crate::proxy::response_head::{BadResponse, Reuse, settle_length};
use crate::upstream::connection::Connection;
use crate::upstream::request_body::{RequestBody, Sent};

/// An upload that takes longer is watched for its client's leaving; most are over before, and cost nothing more.
const STALLED: Duration = Duration::from_secs(2);

type SendResult = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>;

/// What ends a request before it has a response.
#[derive(Clone, Copy)]
pub(crate) struct Limits<'a> {
    /// When the whole request must have ended.
    pub(crate) deadline: Option<Instant>,
    /// From the end of the request to the response's head.
    pub(crate) response_header: Option<Duration>,
    /// The client, if it speaks HTTP/1.
    pub(crate) client: Option<&'a Client>,
    /// Whether hyper waits for the request's body to be read, and so does not notice a client that leaves.
    pub(crate) has_body: bool,
}

impl Limits<'_> {
    /// Waits until the client of a held request leaves.
    pub(crate) async fn client_gone(&self) {
        match self.client {
            Some(client) => client.left_while_held(!self.has_body).await,
            None => std::future::pending().await,
        }
    }

    /// Waits until the client of a stalled upload leaves.
    async fn upload_gone(&self) {
        if let Some(client) = self.client
            && client.left_while_unread().await
        {
            return;
        }
        std::future::pending::<()>().await;
    }
}

/// Sends one request over one connection and waits for the response's head.
pub(crate) async fn exchange(
    connection: &mut Connection,
    request: Request<RequestBody>,
    limits: Limits<'_>,
) -> Result<Response<Incoming>, ExchangeError> {
    let upload = request.body().sent();
    // Pinned once and lent from here on: whatever is moved here is moved for every request.
    let mut sending = pin!(connection.send(request));
    let mut response = match upload {
        None => send(sending.as_mut(), limits).await?,
        Some(upload) => Box::pin(send_upload(sending.as_mut(), &upload, limits)).await?,
    };
    if settle_length(&mut response)? == Reuse::Forbidden {
        connection.make_last();
    }
    Ok(response)
}

async fn send(
    sending: Pin<&mut impl Future<Output = SendResult>>,
    limits: Limits<'_>,
) -> Result<Response<Incoming>, ExchangeError> {
    let header_by = limits.response_header.map(|limit| Instant::now() + limit);
    let answered = match earliest(header_by, limits.deadline) {
        Some(at) => tokio::time::timeout_at(at, sending).await,
        None => Ok(sending.await),
    };
    match (answered, limits.response_header) {
        (Ok(answered), _) => answered.map_err(ExchangeError::from_send),
        (Err(_), Some(limit)) if !is_past(limits.deadline) => Err(ExchangeError::Late(limit)),
        (Err(_), _) => Err(ExchangeError::Deadline),
    }
}

/// The same with a request body: the limit counts from its end, so that a long upload is no slow response.
async fn send_upload(
    sending: Pin<&mut impl Future<Output = SendResult>>,
    upload: &Sent,
    limits: Limits<'_>,
) -> Result<Response<Incoming>, ExchangeError> {
    let late = async {
        upload.wait().await;
        sleep(limits.response_header).await;
    };
    let past = sleep(
        limits
            .deadline
            .map(|deadline| deadline.saturating_duration_since(Instant::now())),
    );
    let gone = async {
        sleep(Some(STALLED)).await;
        tokio::select! {
            () = limits.upload_gone() => {}
            // From here on the connection is read again, which notices a client that leaves.
            () = upload.wait() => std::future::pending().await,
        }
    };
    tokio::select! {
        answered = sending => answered.map_err(ExchangeError::from_send),
        () = late => Err(ExchangeError::Late(limits.response_header.unwrap_or_default())),
        () = past => Err(ExchangeError::Deadline),
        () = gone => Err(ExchangeError::ClientGone),
    }
}

/// Never ends without a limit.
async fn sleep(limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}

/// Why an exchange gave no response.
pub(crate) enum ExchangeError {
    /// Nothing of the request was sent, so it comes back.
    Unsent(Box<Request<RequestBody>>),
    /// The connection broke after the request was sent.
    Broken(hyper::Error),
    /// There is a response, but none that can be passed on.
    BadResponse(BadResponse),
    Late(Duration),
    /// The whole request's deadline has passed.
    Deadline,
    /// The client closed its side in the middle of its request.
    ClientGone,
}

impl From<BadResponse> for ExchangeError {
    fn from(error: BadResponse) -> Self {
        Self::BadResponse(error)
    }
}

impl ExchangeError {
    fn from_send(mut error: TrySendError<Request<RequestBody>>) -> Self {
        if let Some(request) = error.take_message() {
            return Self::Unsent(Box::new(request));
        }
        let error = error.into_error();
        if error.is_parse_too_large() {
            Self::BadResponse(BadResponse::TooLarge)
        } else if error.is_parse() {
            Self::BadResponse(BadResponse::Unreadable(error))
        } else {
            Self::Broken(error)
        }
    }

    /// Whether the endpoint is to be ejected for it. That a `reused` connection closes says nothing: servers close idle
    /// ones. What a client does, or leaves undone, is not held against the endpoint either: otherwise one client could
    /// keep all others away from it, and out of their sessions. `limit_passed` is whether the route's own limit is the
    /// deadline that has passed, and not one that the client has set.
    pub(crate) fn blames_endpoint(&self, reused: bool, limit_passed: bool) -> bool {
        match self {
            Self::Unsent(_) => !reused,
            Self::Broken(error) => !reused && !error.is_user(),
            Self::Late(_) => true,
            Self::Deadline => limit_passed,
            Self::BadResponse(_) | Self::ClientGone => false,
        }
    }
}

impl std::fmt::Display for ExchangeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unsent(_) => f.write_str("the connection closed before the request was sent"),
            Self::Broken(error) => write!(f, "the connection broke: {error}"),
            Self::BadResponse(error) => write!(f, "the response cannot be passed on: {error}"),
            Self::Late(limit) => write!(f, "no response header within {limit:?}"),
            Self::Deadline => f.write_str("the request's deadline has passed"),
            Self::ClientGone => f.write_str("the client went away"),
        }
    }
}
