//! W3C Baggage: passed on unread, as long as it is well-formed and of the size that has to be passed on.

use http::header::{HeaderMap, HeaderName};

use super::remove;

static BAGGAGE: HeaderName = HeaderName::from_static("baggage");

/// W3C Baggage section 3.3.2: larger ones need not be passed on.
const MAX_BYTES: usize = 8192;
/// The count of OpenTelemetry's SDKs; the W3C demands 64.
const MAX_MEMBERS: usize = 180;

pub(super) fn remove_invalid(headers: &mut HeaderMap) {
    if headers.contains_key(&BAGGAGE) && !is_valid(headers) {
        remove(headers, &BAGGAGE);
    }
}

fn is_valid(headers: &HeaderMap) -> bool {
    let values = headers.get_all(&BAGGAGE);
    let bytes: usize = values.iter().map(|value| value.len() + 1).sum();
    let members = || {
        values
            .iter()
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
    };
    bytes <= MAX_BYTES + 1 && members().count() <= MAX_MEMBERS && members().all(is_member)
}

/// `key=value`, then properties that need no value (section 3.3.1).
fn is_member(text: &[u8]) -> bool {
    let mut parts = text.split(|byte| *byte == b';').map(key_and_value);
    matches!(parts.next(), Some((key, Some(value))) if is_token(key) && is_value(value))
        && parts.all(|(key, value)| is_token(key) && value.is_none_or(is_value))
}

/// Splits at the first `=`, without the white space that may stand around each part.
fn key_and_value(part: &[u8]) -> (&[u8], Option<&[u8]>) {
    match part.iter().position(|byte| *byte == b'=') {
        Some(at) => (part[..at].trim_ascii(), Some(part[at + 1..].trim_ascii())),
        None => (part.trim_ascii(), None),
    }
}

/// RFC 9110 section 5.6.2.
fn is_token(text: &[u8]) -> bool {
    let is_tchar = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !text.is_empty() && text.iter().all(is_tchar)
}

fn is_value(text: &[u8]) -> bool {
    text.iter()
        .all(|byte| matches!(byte, 0x21 | 0x23..=0x2b | 0x2d..=0x3a | 0x3c..=0x5b | 0x5d..=0x7e))
}
