//! Rewrites valid request heads that hyper refuses, without a change of meaning.
//!
//! - hyper accepts more than 100 header lines only with an allocation for each request. Lines beyond [`PLAIN_LINES`]
//!   that hyper does not need itself go around it, as [`Extra`].
//! - [`http::Uri`] refuses some bytes in targets that other servers accept; they are percent-encoded. It also shows an
//!   empty path as `/`, which makes a difference with `OPTIONS`.
//!
//! All are rare, so a head is collected only from the first byte concerned.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};

use super::framing::{Class, PLAIN_LINES, Part, RewriteFrom};

/// Lines that may go around hyper. A head with more is an attack: hyper gets the rest and refuses it.
const MAX_LINES: usize = 2_000;

/// What went around hyper of one request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Extra {
    /// Header lines, in order.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// It is for the whole server (`OPTIONS *`), which its absolute target does not show.
    pub(super) is_for_server: bool,
}

/// The state of a rewrite.
#[derive(Debug)]
pub(super) enum Rewrite {
    /// The head so far, from where the rewrite begins; the framing has followed all of it.
    Collecting { from: RewriteFrom, head: Vec<u8> },
    /// The rewritten head, then the bytes that arrived with it, which the framing has not followed yet.
    Ready { ready: Bytes, ahead: Bytes },
}

/// Rewrites a head from where the rewrite begins. `None` if a header line is malformed.
pub(super) fn rewrite(from: RewriteFrom, head: &[u8]) -> Option<(Vec<u8>, Extra)> {
    let mut out = Vec::with_capacity(head.len() + 16);
    let (mut lines, mut plain) = (head, PLAIN_LINES);
    let part = match from {
        RewriteFrom::Target(part) => Some(part),
        RewriteFrom::WholeServer => Some(Part::Path),
        RewriteFrom::Lines => None,
    };
    if let Some(part) = part {
        let end = memchr::memchr(b'\n', head)? + 1;
        encode(part, &head[..end], &mut out);
        (lines, plain) = (&head[end..], 0);
    }
    let mut extra = Extra {
        headers: Vec::new(),
        is_for_server: from == RewriteFrom::WholeServer,
    };
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        if plain < PLAIN_LINES || line == b"\r\n" || extra.headers.len() == MAX_LINES {
            out.extend_from_slice(line);
            plain += 1;
            continue;
        }
        let (name, value) = parse(line)?;
        if is_for_hyper(&name) {
            out.extend_from_slice(line);
        } else {
            extra.headers.push((name, value));
        }
    }
    Some((out, extra))
}

fn encode(mut part: Part, line: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in line {
        match part.class(*byte) {
            Class::Encode => {
                let [high, low] = [byte >> 4, byte & 0xf].map(|digit| DIGITS[usize::from(digit)]);
                out.extend_from_slice(&[b'%', high, low]);
                continue;
            }
            Class::Next(next) => part = next,
            Class::Plain | Class::Refuse => {}
        }
        out.push(*byte);
    }
}

fn parse(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let colon = memchr::memchr(b':', line)?;
    let name = HeaderName::from_bytes(&line[..colon]).ok()?;
    let value = HeaderValue::from_bytes(trim(&line[colon + 1..])).ok()?;
    Some((name, value))
}

/// RFC 9110 section 5.6.3: only SP and HTAB around a value are white space. The line end goes, too.
fn trim(value: &[u8]) -> &[u8] {
    let is_text = |byte: &u8| !matches!(byte, b' ' | b'\t');
    let value = value.strip_suffix(b"\r\n").unwrap_or(value);
    let begin = value.iter().position(is_text).unwrap_or(value.len());
    let end = value.iter().rposition(is_text).map_or(begin, |last| last + 1);
    &value[begin..end]
}

/// hyper reads these to learn the length of the body, how to treat the connection, and whether to send trailers.
fn is_for_hyper(name: &HeaderName) -> bool {
    [
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::EXPECT,
        header::TE,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ]
    .contains(name)
}

#[cfg(test)]
mod tests;
