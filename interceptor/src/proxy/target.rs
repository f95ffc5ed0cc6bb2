//! Checks the target, the host and the length of a request; afterwards `Host` names the only host.
//!
//! hyper and h2 accept more than the standards allow. Requests that an app could read in another way than the routes do
//! are refused here, for both protocols.

use std::net::{Ipv6Addr, SocketAddr};

use http::header::{self, HeaderMap, HeaderValue};
use http::uri::{self, Authority, Uri};
use http::{Method, Request, Version};

use super::headers::InvalidRequest;
use crate::inbound::content_length;

/// Checks target, host and length of a request. `local` is the address that the client connected to: it
/// is the host of an HTTP/1.0 request without `Host`, which is valid (RFC 9112 section 3.2).
pub(crate) fn settle<B>(
    request: &mut Request<B>,
    local: impl FnOnce() -> Option<SocketAddr>,
) -> Result<(), InvalidRequest> {
    if request.method() == Method::CONNECT {
        return Err(InvalidRequest::Connect);
    }
    check_target(request)?;
    settle_length(request.headers_mut())?;
    if let Some(authority) = request.uri().authority() {
        let mut replaced = request.headers().get_all(header::HOST).iter();
        if replaced.any(|host| !is_host(host.as_bytes())) {
            return Err(InvalidRequest::BadHost);
        }
        let host = host_of(authority, request)?;
        request.headers_mut().insert(header::HOST, host);
    }
    let mut hosts = request.headers().get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if is_host(host.as_bytes()) => Ok(()),
        (Some(_), None) => Err(InvalidRequest::BadHost),
        (Some(_), Some(_)) => Err(InvalidRequest::RepeatedHost),
        (None, _) if request.version() == Version::HTTP_10 => {
            let host = local().and_then(|local| HeaderValue::from_str(&local.to_string()).ok());
            request
                .headers_mut()
                .insert(header::HOST, host.ok_or(InvalidRequest::NoHost)?);
            Ok(())
        }
        (None, _) => Err(InvalidRequest::NoHost),
    }
}

/// RFC 9112 section 3.2 (HTTP/1.1) and RFC 9113 section 8.3.1 (HTTP/2): a path, `*` for OPTIONS, or an absolute URI;
/// the fourth form, an authority, is for CONNECT only. All of them are ASCII (RFC 3986).
fn check_target<B>(request: &Request<B>) -> Result<(), InvalidRequest> {
    let uri = request.uri();
    let path = uri.path_and_query().map_or("", uri::PathAndQuery::as_str);
    let is_http2 = request.version() == Version::HTTP_2;
    let is_well_formed = match path.as_bytes() {
        b"*" => request.method() == Method::OPTIONS,
        [b'/', ..] => true,
        [b'?', ..] | [] => is_absolute(uri) && !is_http2,
        _ => false,
    };
    let is_of_http = uri.authority().is_none() || is_absolute(uri);
    if is_well_formed && is_of_http && path.is_ascii() {
        Ok(())
    } else {
        Err(InvalidRequest::BadTarget)
    }
}

fn is_absolute(uri: &Uri) -> bool {
    matches!(uri.scheme_str(), Some("http" | "https"))
}

/// The host of an absolute URI, which counts more than `Host` (RFC 9112 section 3.2.2), or of HTTP/2's `:authority`,
/// which must not differ from `Host` (RFC 9113 section 8.3.1). [`is_host`] refuses user information in both (RFC 9110
/// section 4.2.4).
fn host_of<B>(authority: &Authority, request: &Request<B>) -> Result<HeaderValue, InvalidRequest> {
    let host = authority.as_str();
    let mut hosts = request.headers().get_all(header::HOST).iter();
    if request.version() == Version::HTTP_2
        && hosts.any(|other| !other.as_bytes().eq_ignore_ascii_case(host.as_bytes()))
    {
        return Err(InvalidRequest::RepeatedHost);
    }
    HeaderValue::from_str(host).map_err(|_| InvalidRequest::BadHost)
}

/// RFC 9110 section 7.2: `uri-host [ ":" port ]` with a name that is not empty (section 4.2.1). Percent-encoding is
/// refused: no real host needs it.
fn is_host(value: &[u8]) -> bool {
    let (is_name, port) = if let Some(rest) = value.strip_prefix(b"[") {
        let end = memchr::memchr(b']', rest).unwrap_or(rest.len());
        let address = std::str::from_utf8(&rest[..end]).map(str::parse::<Ipv6Addr>);
        (matches!(address, Ok(Ok(_))), rest.get(end + 1..))
    } else {
        let end = memchr::memchr(b':', value).unwrap_or(value.len());
        (end > 0 && value[..end].iter().all(is_of_name), Some(&value[end..]))
    };
    is_name && port.is_some_and(is_port)
}

/// RFC 3986 section 3.2.2: unreserved characters and delimiters.
fn is_of_name(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(byte)
}

/// Nothing, or a colon and a port number, which may be empty.
fn is_port(text: &[u8]) -> bool {
    let number = match text {
        [] | [b':'] => return true,
        [b':', number @ ..] => number,
        _ => return false,
    };
    let digits = number.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(number).map(str::parse::<u16>);
    digits && matches!(number, Ok(Ok(_)))
}

/// RFC 9110 section 8.6: one length. Lines that repeat it become one.
fn settle_length(headers: &mut HeaderMap) -> Result<(), InvalidRequest> {
    let lines = headers.get_all(header::CONTENT_LENGTH);
    let count = lines.iter().count();
    if count == 0 {
        return Ok(());
    }
    let lines = lines.iter().map(HeaderValue::as_bytes);
    let length = content_length::agreed(lines).ok_or(InvalidRequest::BadLength)?;
    if count > 1 {
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
