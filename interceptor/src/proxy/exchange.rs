//! One request over one connection, and what is done when it is not answered.

use std::pin::{Pin, pin};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use tokio::time::Instant;

use crate::body::{RequestBody, Sent};
use crate::inbound::client::Client;
use crate::proxy::error::ProxyError;
use crate::proxy::record::Record;
use crate::proxy::replay::Replay;
use crate::upstream::Connection;

/// An upload that takes longer is watched for its client's leaving; most are over before, and cost nothing more.
const STALLED: Duration = Duration::from_secs(2);

/// One request over one connection, up to the response's head. `client` is given when its leaving would not be noticed
/// otherwise: an endpoint that stops reading an upload stops us from reading the client.
pub async fn exchange(
    connection: &mut Connection,
    request: Request<RequestBody>,
    response_header: Option<Duration>,
    deadline: Option<Instant>,
    client: Option<&Client>,
) -> Result<Response<Incoming>, ExchangeError> {
    let upload = request.body().sent();
    // Pinned once and lent from here on: what is moved about here is moved for every request.
    let mut sending = pin!(connection.send(request));
    if let Some(upload) = upload {
        return Box::pin(exchange_upload(sending, &upload, response_header, deadline, client)).await;
    }
    let header_by = response_header.map(|limit| Instant::now() + limit);
    let answered = match earliest(header_by, deadline) {
        Some(at) => tokio::time::timeout_at(at, sending.as_mut()).await,
        None => Ok(sending.await),
    };
    match (answered, response_header) {
        (Ok(answered), _) => answered.map_err(ExchangeError::of),
        (Err(_), Some(limit)) if !is_past(deadline) => Err(ExchangeError::Late(limit)),
        (Err(_), _) => Err(ExchangeError::Deadline),
    }
}

/// The same with a request body: the limit counts from its end, so that a long upload is no slow answer.
async fn exchange_upload(
    sending: Pin<&mut impl Future<Output = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>>>,
    upload: &Sent,
    response_header: Option<Duration>,
    deadline: Option<Instant>,
    client: Option<&Client>,
) -> Result<Response<Incoming>, ExchangeError> {
    let late = async {
        upload.wait().await;
        sleep(response_header).await;
    };
    let past = sleep(deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())));
    let gone = async {
        sleep(Some(STALLED)).await;
        match client {
            Some(client) => client.gone().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        answered = sending => answered.map_err(ExchangeError::of),
        () = late => Err(ExchangeError::Late(response_header.unwrap_or_default())),
        () = past => Err(ExchangeError::Deadline),
        () = gone => Err(ExchangeError::ClientGone),
    }
}

/// For ever without a limit.
async fn sleep(limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}

/// Why an exchange gave no response.
pub enum ExchangeError {
    /// The connection was closed before it took the request: here it is again.
    Unsent(Box<Request<RequestBody>>),
    /// It broke after the request was sent, or the answer cannot be read.
    Broken(hyper::Error),
    /// No response header within this time.
    Late(Duration),
    /// The whole request's deadline has passed.
    Deadline,
    /// The client closed its side in the middle of its request.
    ClientGone,
}

impl ExchangeError {
    fn of(mut error: TrySendError<Request<RequestBody>>) -> Self {
        match error.take_message() {
            Some(request) => Self::Unsent(Box::new(request)),
            None => Self::Broken(error.into_error()),
        }
    }

    /// Whether the endpoint is to be avoided for it. What a client does, or leaves undone, is not held against the endpoint:
    /// otherwise one client could keep all others away from it, and out of their sessions. `limit_passed` is whether the
    /// route's own limit is the deadline that has passed, and not one that the client has set.
    pub fn is_the_endpoints(&self, limit_passed: bool) -> bool {
        match self {
            Self::Unsent(_) | Self::Late(_) => true,
            Self::Broken(error) => !error.is_user(),
            Self::Deadline => limit_passed,
            Self::ClientGone => false,
        }
    }
}

impl std::fmt::Display for ExchangeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unsent(_) => f.write_str("the connection closed before the request was sent"),
            Self::Broken(error) => write!(f, "the connection broke: {error}"),
            Self::Late(limit) => write!(f, "no response header within {limit:?}"),
            Self::Deadline => f.write_str("the request's deadline has passed"),
            Self::ClientGone => f.write_str("the client went away"),
        }
    }
}

/// How often a request was tried.
#[derive(Default)]
pub struct Attempts {
    broken: u32,
    unsent: u32,
}

impl Attempts {
    /// Requests that were sent and not answered are sent again this often, when that is safe.
    const REPLAYS: u32 = 3;
    /// For a request that waited for its pod, a pod that resets is one that is not up yet, for this long.
    const COLD_REPLAYS: Duration = Duration::from_secs(10);
    /// For how long connections that close before they take anything are put up with.
    const UNSENT_LIMIT: Duration = Duration::from_secs(60);

    /// The request for the next attempt, or the error that ends it. `connected` is for how long connections have been had.
    pub fn again(
        &mut self,
        error: ExchangeError,
        replay: Option<Replay>,
        record: &Record,
        connected: Duration,
    ) -> Result<Request<RequestBody>, ProxyError> {
        match error {
            ExchangeError::Unsent(request) if connected < Self::UNSENT_LIMIT => {
                self.unsent += 1;
                Ok(*request)
            }
            ExchangeError::Unsent(_) => Err(ProxyError::Exhausted(self.unsent)),
            ExchangeError::Late(limit) => Err(ProxyError::ResponseHeaderTimeout(limit)),
            ExchangeError::Deadline => Err(ProxyError::RequestTimeout(record.elapsed())),
            ExchangeError::ClientGone => Err(ProxyError::ClientGone),
            ExchangeError::Broken(error) if error.is_user() => Err(ProxyError::BadBody(error)),
            ExchangeError::Broken(error) => {
                self.broken += 1;
                // An answer that cannot be read is an answer.
                let unanswered = !error.is_parse();
                let patience = self.broken <= Self::REPLAYS || (record.is_cold() && connected < Self::COLD_REPLAYS);
                replay
                    .filter(|_| unanswered && patience)
                    .map(Replay::request)
                    .ok_or(ProxyError::Broken(error))
            }
        }
    }

    /// The first new attempt is made at once, later ones after a short jittered pause.
    pub async fn pause(&self) {
        let tries = self.broken + self.unsent;
        if tries > 1 {
            let longest = 1_000_usize << tries.min(6);
            let micros = longest / 2 + crate::upstream::backends::random_below(longest / 2);
            tokio::time::sleep(Duration::from_micros(micros as u64)).await;
        }
    }
}

/// The sooner of two limits.
pub fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// Whether there is a limit and it has passed.
pub fn is_past(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| deadline <= Instant::now())
}
