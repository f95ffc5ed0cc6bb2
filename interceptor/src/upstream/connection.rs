//! A connection to an endpoint in the hands of one request.

use futures_util::future::Either;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use keda_http_core::session::EndpointId;
use keda_http_kubernetes::endpoints::{Address, AppProtocol};

use crate::upstream::connect::Sender;
use crate::upstream::endpoint::PickedEndpoint;
use crate::upstream::request_body::RequestBody;

/// A connection in the hands of one request.
pub(crate) struct Connection {
    sender: Sender,
    endpoint: PickedEndpoint,
    worker: usize,
    reused: bool,
    last: bool,
}

impl Connection {
    /// A connection of `worker`, which has carried requests before when it is `reused`.
    pub(crate) fn new(sender: Sender, endpoint: PickedEndpoint, worker: usize, reused: bool) -> Self {
        Self {
            sender,
            endpoint,
            worker,
            reused,
            last: false,
        }
    }

    pub(crate) fn is_reused(&self) -> bool {
        self.reused
    }

    /// It is closed after this request instead of going back to the pool.
    pub(crate) fn make_last(&mut self) {
        self.last = true;
    }

    /// Ends the endpoint's ejection, since it has answered.
    pub(crate) fn reinstate_endpoint(&self) {
        self.endpoint.reinstate();
    }

    pub(crate) fn expect_large_heads(&self) {
        self.endpoint.expect_large_heads();
    }

    /// Makes other endpoints preferred for a while, since this one took the connection and did not answer. Where the
    /// request has chosen the protocol, the endpoint may not speak it, and is not ejected: otherwise any client could
    /// eject all endpoints.
    pub(crate) fn eject_endpoint(&self) {
        if self.protocol() == self.endpoint.protocol {
            self.endpoint.eject();
        }
    }

    pub(crate) fn protocol(&self) -> AppProtocol {
        match self.sender {
            Sender::Http1(_) => AppProtocol::Http1,
            Sender::Http2(_) => AppProtocol::H2c,
        }
    }

    pub(crate) fn address(&self) -> &Address {
        &self.endpoint.address
    }

    /// Identifies the endpoint in session cookies.
    pub(crate) fn endpoint(&self) -> EndpointId {
        self.endpoint.id
    }

    /// Sends a request whose headers and URI are fit for the connection's protocol, up to the response's head. A
    /// request of which nothing was sent comes back in the error.
    pub(crate) fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>> + use<> {
        match &mut self.sender {
            Sender::Http1(sender) => Either::Left(sender.try_send_request(request)),
            Sender::Http2(sender) => Either::Right(sender.try_send_request(request)),
        }
    }

    /// Back to the pool, when it can carry another request; otherwise it is closed.
    pub(crate) fn give_back(self) {
        if let Sender::Http1(sender) = self.sender
            && !self.last
            && sender.is_ready()
            && !self.endpoint.is_removed()
        {
            self.endpoint.pool(self.worker).put(sender);
        }
    }
}
