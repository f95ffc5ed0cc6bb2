//! Header rules of a proxy: hop-by-hop headers are removed, forwarding headers are added, and a request gets the form
//! of the endpoint's protocol.
//!
//! Everything else passes unchanged: paths and queries are not rewritten, and no `Accept-Encoding` is added.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Uri, Version, uri};
use http_body::Body;
use keda_http_kubernetes::endpoints::AppProtocol;

use crate::inbound::client::ClientFacts;
pub(crate) use crate::upstream::trailers::X_FORWARDED_PROTO;
use crate::upstream::trailers::{HOP_BY_HOP, X_FORWARDED_FOR, X_FORWARDED_HOST};

/// On responses: whether the request waited for a cold start.
pub const COLD_START: HeaderName = HeaderName::from_static("x-keda-http-cold-start");

/// Why a request is not forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRequest {
    #[error("the request has no Host")]
    NoHost,
    /// RFC 9110 section 7.2.
    #[error("the Host is not a valid host with an optional port")]
    BadHost,
    /// Two fields name a host, so that two readers may choose different ones.
    #[error("the request names more than one host")]
    RepeatedHost,
    /// RFC 9112 section 3.2.
    #[error("the request target is not a path, an absolute URI or, for OPTIONS, an asterisk")]
    BadTarget,
    /// RFC 9110 section 8.6.
    #[error("the Content-Length is not a number, too large, or not the only one")]
    BadLength,
    #[error("CONNECT is not supported")]
    Connect,
    #[error("the request has passed more than {MAX_HOPS} proxies; it is in a forwarding loop")]
    ForwardingLoop,
    #[error("X-Forwarded-For is longer than {MAX_FORWARDED_FOR} bytes")]
    LongForwardedFor,
}

/// Entries of `X-Forwarded-For` a request may have. No sensible chain of proxies is that long, and each pass through a
/// loop adds one.
const MAX_HOPS: usize = 32;
/// Bytes of all `X-Forwarded-For` lines together: more than twice what [`MAX_HOPS`] IPv6 addresses take. The lines are
/// copied, and one that HTTP/2 sends as an index of a byte can be long.
const MAX_FORWARDED_FOR: usize = 4096;

/// The elements of a comma-separated header, as bytes: an element that is not text must not hide the others.
pub(super) fn elements<'a>(lines: impl IntoIterator<Item = &'a HeaderValue>) -> impl Iterator<Item = &'a [u8]> {
    let lines = lines.into_iter();
    lines
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
}

/// Removes the headers that belong to one connection (RFC 9110 section 7.6.1): those that `Connection` names, and the
/// well-known ones. `Trailer` stays, since trailers are forwarded; `TE` stays when it contains `trailers`.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) {
    // Most messages have none of them, and one pass over the names costs less than a lookup for each.
    if !headers.keys().any(|name| HOP_BY_HOP.contains(name)) {
        return;
    }
    let trailers = elements(headers.get_all(header::TE)).any(|coding| coding.eq_ignore_ascii_case(b"trailers"));
    remove_named_by_connection(headers);
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
}

fn remove_named_by_connection(headers: &mut HeaderMap) {
    // Without these the request would lose its target or its body.
    const KEPT: [HeaderName; 3] = [header::HOST, header::CONTENT_LENGTH, header::TRAILER];
    let options = elements(headers.get_all(header::CONNECTION));
    let named: Vec<HeaderName> = options
        .filter_map(|option| HeaderName::from_bytes(option).ok())
        .filter(|name| !KEPT.contains(name))
        .collect();
    for name in named {
        headers.remove(name);
    }
}

/// Adds forwarding headers: the client is appended to `X-Forwarded-For`; `X-Forwarded-Host` and `-Proto` are added when
/// they are missing. `Forwarded` is removed, because it would contradict them.
///
/// # Errors
/// [`InvalidRequest::ForwardingLoop`] when the request has passed too many proxies.
pub fn add_forwarded(headers: &mut HeaderMap, client: &ClientFacts) -> Result<(), InvalidRequest> {
    headers.remove(header::FORWARDED);
    let forwarded_for = match headers.get_all(X_FORWARDED_FOR).iter().next() {
        None => client.forwarded_for.clone(),
        Some(_) => append_forwarded_for(headers, &client.forwarded_for)?,
    };
    headers.insert(X_FORWARDED_FOR, forwarded_for);
    if !headers.contains_key(X_FORWARDED_HOST)
        && let Some(host) = headers.get(header::HOST).cloned()
    {
        headers.insert(X_FORWARDED_HOST, host);
    }
    if !headers.contains_key(X_FORWARDED_PROTO) {
        headers.insert(X_FORWARDED_PROTO, client.scheme.clone());
    }
    Ok(())
}

fn append_forwarded_for(headers: &HeaderMap, client: &HeaderValue) -> Result<HeaderValue, InvalidRequest> {
    let lines = headers.get_all(X_FORWARDED_FOR);
    if lines.iter().map(HeaderValue::len).sum::<usize>() > MAX_FORWARDED_FOR {
        return Err(InvalidRequest::LongForwardedFor);
    }
    let mut list = Vec::new();
    for line in lines {
        list.extend_from_slice(line.as_bytes());
        list.extend_from_slice(b", ");
    }
    if memchr::memchr_iter(b',', &list).count() > MAX_HOPS {
        return Err(InvalidRequest::ForwardingLoop);
    }
    list.extend_from_slice(client.as_bytes());
    Ok(HeaderValue::from_bytes(&list).unwrap_or_else(|_| client.clone()))
}

/// Gives a request the form that the endpoint's protocol requires: origin form and `Host` for HTTP/1.1, a full URI
/// without `Host` for HTTP/2.
///
/// # Errors
/// [`InvalidRequest::BadTarget`] when host and path make no URI; the request is of no use then.
pub fn fit_protocol<B: Body>(request: &mut Request<B>, protocol: AppProtocol) -> Result<(), InvalidRequest> {
    match protocol {
        AppProtocol::Http1 => {
            fit_http1(request);
            Ok(())
        }
        AppProtocol::H2c => fit_http2(request),
    }
}

fn fit_http1<B: Body>(request: &mut Request<B>) {
    if request.version() == Version::HTTP_2 {
        join_cookies(request.headers_mut());
    }
    *request.version_mut() = Version::HTTP_11;
    if !request.body().is_end_stream() && !request.headers().contains_key(header::CONTENT_LENGTH) {
        // Without it, hyper would send no body with a method that rarely has one.
        request
            .headers_mut()
            .insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    if let Some(authority) = request.uri().authority() {
        if !request.headers().contains_key(header::HOST)
            && let Ok(host) = HeaderValue::from_str(authority.as_str())
        {
            request.headers_mut().insert(header::HOST, host);
        }
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = Uri::from(path.unwrap_or_else(|| uri::PathAndQuery::from_static("/")));
    }
}

fn fit_http2<B>(request: &mut Request<B>) -> Result<(), InvalidRequest> {
    *request.version_mut() = Version::HTTP_2;
    request.headers_mut().remove(header::TRANSFER_ENCODING);
    let host = request.headers_mut().remove(header::HOST);
    let authority = host.and_then(|host| uri::Authority::try_from(host.as_bytes()).ok());
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(uri::Scheme::HTTP);
    parts.authority = authority.or(parts.authority);
    parts.path_and_query = parts
        .path_and_query
        .or_else(|| Some(uri::PathAndQuery::from_static("/")));
    *request.uri_mut() = Uri::from_parts(parts).map_err(|_| InvalidRequest::BadTarget)?;
    Ok(())
}

/// HTTP/2 may split the cookie header into several lines; HTTP/1.1 may not (RFC 9113 section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut lines = headers.get_all(header::COOKIE).iter();
    if lines.next().is_none() || lines.next().is_none() {
        return;
    }
    let lines: Vec<&[u8]> = headers
        .get_all(header::COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if let Ok(joined) = HeaderValue::from_bytes(&lines.join(&b"; "[..])) {
        headers.insert(header::COOKIE, joined);
    }
}

#[cfg(test)]
mod tests;
