//! What can go wrong with a request, and its one translation to HTTP (and to gRPC for gRPC clients).

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use crate::proxy::headers::InvalidRequest;
use crate::proxy::record::CLIENT_CLOSED_REQUEST;
use crate::proxy::response_body::ResponseBody;
use crate::proxy::response_head::BadResponse;
use crate::upstream::ConnectError;

/// Who failed decides status and log level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The client: what it sent, or that it went away.
    Client,
    /// The workload: not ready, not reachable, not answering.
    Upstream,
    /// We ourselves.
    Internal,
}

/// Why a request was not answered by its workload. Each variant has its own status or its own text.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyError {
    /// The request itself cannot be passed on.
    #[error("{0}")]
    Invalid(#[from] InvalidRequest),
    /// No route takes it.
    #[error("no route for host {host:?}")]
    NoRoute {
        /// The Host header.
        host: String,
    },
    /// Until the first state of the source is live, another interceptor may know the route.
    #[error("the routes have not been read yet")]
    Starting,
    /// No endpoint is ready and the request is not to be held, and yet the route has no response for that.
    #[error("the workload is not ready")]
    Unavailable,
    /// As many requests as may be held are held already.
    #[error("too many pending requests")]
    TooManyPending,
    /// The ConfigMap of the route's own response, or its key, does not exist.
    #[error("the body of the configured response is missing")]
    NoBody,
    /// It was held until this interceptor had to end: another one can hold it.
    #[error("this interceptor shuts down before the workload is ready")]
    Draining,
    /// It was held until its time ran out.
    #[error("the workload was not ready within {waited:?}{why}")]
    NotReady {
        /// For how long it was held.
        waited: Duration,
        /// What is known of the reason, with a leading colon.
        why: String,
    },
    /// The deadline of the whole request passed.
    #[error("the request took longer than {0:?}")]
    RequestTimeout(Duration),
    /// The workload has the request and does not answer.
    #[error("the workload sent no response header within {0:?}")]
    ResponseHeaderTimeout(Duration),
    /// Ready endpoints could not be reached for as long as was tried.
    #[error("the workload could not be reached: {failure} ({attempts} attempts)")]
    Unreachable {
        /// The last failure.
        failure: String,
        /// How many there were.
        attempts: u32,
    },
    /// Connections were made, but closed before they took the request, again and again.
    #[error("the workload closed {0} connections before taking the request")]
    Exhausted(u32),
    /// It switched to a protocol that the request did not ask for.
    #[error("the workload switched to a protocol that the request did not ask for")]
    UnaskedUpgrade,
    /// The connection broke after the request was sent.
    #[error("the workload broke the connection: {0}")]
    Broken(hyper::Error),
    /// It has responded with something that must not be passed on.
    #[error("the workload's response cannot be passed on: {0}")]
    BadResponse(BadResponse),
    /// The client's own body was malformed or ended early.
    #[error("the request body could not be read: {0}")]
    BadBody(hyper::Error),
    /// The client has gone; nobody reads this answer.
    #[error("the client went away")]
    ClientGone,
}

impl ProxyError {
    /// `problem` is what is known of the reason why there is no endpoint.
    pub(crate) fn from_connect(error: ConnectError, problem: Option<String>) -> Self {
        match error {
            ConnectError::Unavailable => Self::Unavailable,
            ConnectError::TooManyPending => Self::TooManyPending,
            ConnectError::NotReady(waited) => Self::NotReady {
                waited,
                why: problem.map_or_else(String::new, |problem| format!(": {problem}")),
            },
            ConnectError::Unreachable { failure, attempts } => Self::Unreachable { failure, attempts },
            ConnectError::ClientGone => Self::ClientGone,
            ConnectError::Draining => Self::Draining,
        }
    }

    /// Who failed.
    pub(crate) fn source(&self) -> Source {
        match self {
            Self::Invalid(_) | Self::NoRoute { .. } | Self::BadBody(_) | Self::ClientGone => Source::Client,
            Self::Starting | Self::Draining | Self::TooManyPending | Self::NoBody => Source::Internal,
            Self::Unavailable
            | Self::NotReady { .. }
            | Self::RequestTimeout(_)
            | Self::ResponseHeaderTimeout(_)
            | Self::Unreachable { .. }
            | Self::Exhausted(_)
            | Self::UnaskedUpgrade
            | Self::Broken(_)
            | Self::BadResponse(_) => Source::Upstream,
        }
    }

    /// The HTTP status, as upstream's table has it.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Invalid(InvalidRequest::Connect) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Invalid(InvalidRequest::ForwardingLoop) => StatusCode::LOOP_DETECTED,
            Self::Invalid(_) | Self::BadBody(_) => StatusCode::BAD_REQUEST,
            Self::NoRoute { .. } => StatusCode::NOT_FOUND,
            Self::Starting | Self::Draining | Self::Unavailable | Self::TooManyPending => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::NoBody => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NotReady { .. } | Self::RequestTimeout(_) | Self::ResponseHeaderTimeout(_) => {
                StatusCode::GATEWAY_TIMEOUT
            }
            Self::Unreachable { .. }
            | Self::Exhausted(_)
            | Self::UnaskedUpgrade
            | Self::Broken(_)
            | Self::BadResponse(_) => StatusCode::BAD_GATEWAY,
            Self::ClientGone => StatusCode::from_u16(CLIENT_CLOSED_REQUEST).unwrap_or(StatusCode::BAD_REQUEST),
        }
    }

    /// The text for the client: it names the limit, but no address inside the cluster.
    fn public_text(&self) -> String {
        match self {
            Self::Unreachable { attempts, .. } => format!("the workload could not be reached ({attempts} attempts)"),
            Self::Broken(_) => "the workload broke the connection".to_owned(),
            Self::BadBody(_) => "the request body could not be read".to_owned(),
            Self::NoRoute { .. } => "no route for this host, path and headers".to_owned(),
            Self::NotReady { waited, .. } => format!("the workload was not ready within {waited:.1?}"),
            Self::Starting
            | Self::Draining
            | Self::Invalid(_)
            | Self::Unavailable
            | Self::TooManyPending
            | Self::NoBody
            | Self::RequestTimeout(_)
            | Self::ResponseHeaderTimeout(_)
            | Self::Exhausted(_)
            | Self::UnaskedUpgrade
            | Self::BadResponse(_)
            | Self::ClientGone => self.to_string(),
        }
    }

    /// The response: plain text for HTTP clients, a trailers-only response for gRPC clients.
    pub(crate) fn response(&self, is_grpc: bool) -> Response<ResponseBody> {
        if is_grpc {
            self.grpc_response()
        } else {
            self.http_response()
        }
    }

    fn text(&self) -> String {
        if matches!(self, Self::TooManyPending) {
            // The same text as the Go add-on's.
            return format!("{self}\n");
        }
        let status = self.status();
        let reason = status.canonical_reason().unwrap_or("Client Closed Request");
        format!("{reason}: {}\n", self.public_text())
    }

    fn http_response(&self) -> Response<ResponseBody> {
        let status = self.status();
        let mut response = Response::new(ResponseBody::local(self.text()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(
                header::ALLOW,
                HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE"),
            );
        }
        response
    }

    fn grpc_response(&self) -> Response<ResponseBody> {
        let mut response = Response::new(ResponseBody::local(""));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-status", HeaderValue::from_static(self.grpc_status()));
        if let Ok(message) = HeaderValue::from_str(&self.public_text().replace('%', "%25")) {
            headers.insert("grpc-message", message);
        }
        response
    }

    /// gRPC status codes by number: what a client should do decides (4 deadline, 12 wrong address, 14 try again).
    fn grpc_status(&self) -> &'static str {
        match self {
            Self::Invalid(_) | Self::BadBody(_) => "3",
            Self::NoRoute { .. } => "12",
            Self::RequestTimeout(_) | Self::ResponseHeaderTimeout(_) => "4",
            Self::NoBody | Self::BadResponse(_) => "13",
            Self::Starting
            | Self::Draining
            | Self::Unavailable
            | Self::TooManyPending
            | Self::NotReady { .. }
            | Self::Unreachable { .. }
            | Self::Exhausted(_)
            | Self::UnaskedUpgrade
            | Self::Broken(_) => "14",
            Self::ClientGone => "1",
        }
    }
}

/// Whether the client speaks gRPC and wants gRPC's errors.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE);
    let Some(rest) = content_type.and_then(|value| value.as_bytes().strip_prefix(b"application/grpc")) else {
        return false;
    };
    // Not `application/grpc-web`, whose clients read HTTP errors.
    matches!(rest.first(), None | Some(b'+' | b';'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_upstreams_status() {
        let not_ready = ProxyError::NotReady {
            waited: Duration::from_secs(1),
            why: String::new(),
        };
        assert_eq!(not_ready.status(), 504);
        assert_eq!(ProxyError::RequestTimeout(Duration::from_secs(1)).status(), 504);
        assert_eq!(ProxyError::ResponseHeaderTimeout(Duration::from_secs(1)).status(), 504);
        assert_eq!(ProxyError::NoRoute { host: "a".into() }.status(), 404);
        assert_eq!(ProxyError::Invalid(InvalidRequest::Connect).status(), 405);
        assert_eq!(ProxyError::Invalid(InvalidRequest::NoHost).status(), 400);
        assert_eq!(ProxyError::ClientGone.status(), 499);
        assert_eq!(ProxyError::NoBody.status(), 500);
    }

    #[test]
    fn a_client_above_the_pending_limit_is_asked_to_retry() {
        let response = ProxyError::TooManyPending.response(false);
        assert_eq!(
            (response.status().as_u16(), &response.headers()["retry-after"]),
            (503, &HeaderValue::from_static("1"))
        );
        assert_eq!(ProxyError::TooManyPending.text(), "too many pending requests\n");
        let response = ProxyError::TooManyPending.response(true);
        assert_eq!(response.headers()["grpc-status"], "14");
    }

    #[test]
    fn a_grpc_client_gets_a_grpc_error() {
        let response = ProxyError::NoRoute { host: "a".into() }.response(true);
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["grpc-status"], "12");
        assert_eq!(response.headers()["content-type"], "application/grpc");
    }

    #[test]
    fn addresses_are_not_shown_to_clients() {
        let failure = "connecting to 10.1.2.3:80: no answer".to_owned();
        let error = ProxyError::Unreachable { failure, attempts: 3 };
        assert!(error.to_string().contains("10.1.2.3"));
        assert!(!error.public_text().contains("10.1.2.3"));
    }
}
