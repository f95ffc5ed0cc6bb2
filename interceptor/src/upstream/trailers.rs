//! Trailers on their way to an endpoint or to a client.

use bytes::Bytes;
use http::header::{self, HeaderName};
use http_body::Frame;

pub(crate) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(crate) const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// The client's scheme, as the outermost proxy knows it.
pub(crate) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The headers that belong to one connection, besides those that `Connection` names.
pub(crate) const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("http2-settings"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// What frames or routes a message, or says who sent it, counts in its head only (RFC 9110 section 6.5.1).
const ONLY_IN_HEADS: [HeaderName; 6] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::FORWARDED,
    X_FORWARDED_FOR,
    X_FORWARDED_HOST,
    X_FORWARDED_PROTO,
];

/// Removes from trailers what must not be passed on. HTTP/2 sends no trailers at all with a field of a connection.
pub(crate) fn filter(mut frame: Frame<Bytes>) -> Frame<Bytes> {
    if let Some(trailers) = frame.trailers_mut() {
        for name in HOP_BY_HOP.into_iter().chain(ONLY_IN_HEADS) {
            trailers.remove(name);
        }
    }
    frame
}
