//! Which responses are passed on: those that say in one way only where their body ends.
//!
//! hyper reads a body by one header and hands on all of them, so what is left here decides what clients believe.

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use super::headers::elements;
use crate::inbound::content_length;

/// Why a response is not passed on. Shown to clients, and so without anything of the inside.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadResponse {
    #[error("its Content-Length is not one number")]
    ContentLength,
    #[error("its Transfer-Encoding is not `chunked` alone")]
    TransferEncoding,
    /// More than 400 KiB, more than 1,000 lines, or the first one of its endpoint with more than 100 lines.
    #[error("its head is too large or has too many lines")]
    TooLarge,
    /// hyper's words: they name the part that could not be parsed.
    #[error("{0}")]
    Unreadable(hyper::Error),
}

/// Whether the connection of a response may carry another request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reuse {
    Allowed,
    /// The response's end was ambiguous, which is how responses are smuggled (RFC 9112 section 6.3).
    Forbidden,
}

/// Leaves at most one `Content-Length`, of one number, and none beside `Transfer-Encoding` (RFC 9112 section 6.3, RFC
/// 9110 section 8.6).
pub(crate) fn settle_length<B>(response: &mut Response<B>) -> Result<Reuse, BadResponse> {
    let status = response.status();
    let headers = response.headers_mut();
    if headers.contains_key(header::TRANSFER_ENCODING) {
        if !is_chunked_alone(headers) {
            return Err(BadResponse::TransferEncoding);
        }
        return Ok(match headers.remove(header::CONTENT_LENGTH) {
            Some(_) => Reuse::Forbidden,
            None => Reuse::Allowed,
        });
    }
    let mut lines = headers.get_all(header::CONTENT_LENGTH).iter();
    match (lines.next(), lines.next()) {
        (None, _) => return Ok(Reuse::Allowed),
        (Some(line), None) if content_length::parse(line.as_bytes()).is_some() => {}
        _ => {
            let lines = headers.get_all(header::CONTENT_LENGTH);
            let length = content_length::agreed(elements(lines)).ok_or(BadResponse::ContentLength)?;
            headers.insert(header::CONTENT_LENGTH, length.into());
        }
    }
    if status.is_informational() || status == StatusCode::NO_CONTENT {
        headers.remove(header::CONTENT_LENGTH);
    }
    Ok(Reuse::Allowed)
}

fn is_chunked_alone(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(header::TRANSFER_ENCODING).iter();
    let chunked = |line: &HeaderValue| line.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
    lines.next().is_some_and(chunked) && lines.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(status: u16, lines: &[(&'static str, &str)]) -> Result<(Vec<String>, Reuse), String> {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        for (name, value) in lines {
            response
                .headers_mut()
                .append(*name, HeaderValue::from_str(value).unwrap());
        }
        let reuse = settle_length(&mut response).map_err(|error| error.to_string())?;
        let lengths = response.headers().get_all("content-length").iter();
        Ok((lengths.map(|value| value.to_str().unwrap().to_owned()).collect(), reuse))
    }

    fn allowed(lengths: &[&str]) -> Result<(Vec<String>, Reuse), String> {
        Ok((lengths.iter().map(ToString::to_string).collect(), Reuse::Allowed))
    }

    #[test]
    fn fault_a6_a_length_beside_chunked_goes_and_the_connection_is_not_used_again() {
        for chunked in ["chunked", "Chunked", " chunked"] {
            let both = [("content-length", "2"), ("transfer-encoding", chunked)];
            assert_eq!(settled(200, &both), Ok((vec![], Reuse::Forbidden)), "{chunked}");
            assert_eq!(settled(200, &both[1..]), allowed(&[]), "{chunked}");
        }
        for other in [
            "gzip",
            "gzip, chunked",
            "chunked, gzip",
            "chunked, chunked",
            "identity",
            "",
            "xchunked",
        ] {
            assert!(settled(200, &[("transfer-encoding", other)]).is_err(), "{other}");
        }
        let twice = [("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")];
        assert!(settled(200, &twice).is_err());
    }

    #[test]
    fn fault_a7_lengths_that_agree_become_one_and_others_are_refused() {
        let length = |value| [("content-length", value)];
        assert_eq!(settled(200, &length("2")), allowed(&["2"]));
        for list in ["2, 2", "2,2", "2 ,02", "2,2, 2"] {
            assert_eq!(settled(200, &length(list)), allowed(&["2"]), "{list}");
        }
        let lines = [("content-length", "2"), ("content-length", "2")];
        assert_eq!(settled(200, &lines), allowed(&["2"]));
        assert_eq!(settled(304, &lines), allowed(&["2"]));
        let different = [("content-length", "2"), ("content-length", "3")];
        assert!(settled(200, &different).is_err());
        for bad in [
            "",
            "2, 3",
            "2,",
            ",2",
            "+2",
            "-2",
            "0x2",
            "2 2",
            "2;2",
            "9223372036854775808",
            "99999999999999999999",
        ] {
            assert!(settled(200, &length(bad)).is_err(), "{bad}");
        }
        assert_eq!(
            settled(200, &length("9223372036854775807")),
            allowed(&["9223372036854775807"])
        );
    }

    #[test]
    fn a_response_that_cannot_have_a_body_has_no_length() {
        assert_eq!(settled(204, &[("content-length", "5")]), allowed(&[]));
        assert_eq!(settled(101, &[("content-length", "5")]), allowed(&[]));
    }
}
