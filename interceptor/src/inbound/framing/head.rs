//! What one request head says about the message's length and about what follows it.

use super::ViolationKind;

/// Collected line by line, judged at the blank line.
#[derive(Debug, Default)]
pub(super) struct Head {
    is_http11: bool,
    /// Header lines that are complete.
    pub(super) lines: u16,
    pub(super) length: Option<u64>,
    pub(super) is_chunked: bool,
    pub(super) has_host: bool,
    pub(super) has_upgrade: bool,
    /// `h2c` among the protocols of `Upgrade`.
    pub(super) names_h2c: bool,
    /// `upgrade` among the options of `Connection`.
    pub(super) connection_upgrade: bool,
}

/// What follows a head.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// In bytes.
    Length(u64),
    Chunked,
}

impl Head {
    /// Reads the version from the last eight bytes of the request line.
    pub(super) fn end_request_line(&mut self, tail: u64) -> Result<(), ViolationKind> {
        self.is_http11 = match &tail.to_be_bytes() {
            b"HTTP/1.1" => true,
            b"HTTP/1.0" => false,
            _ => return Err(ViolationKind::Version),
        };
        Ok(())
    }

    /// RFC 9112 section 6.3, for requests.
    pub(super) fn body(&self) -> Result<Body, ViolationKind> {
        if self.is_http11 && !self.has_host {
            return Err(ViolationKind::MissingHost);
        }
        match (self.is_chunked, self.length) {
            (true, Some(_)) => Err(ViolationKind::LengthAndTransferEncoding),
            (true, None) if !self.is_http11 => Err(ViolationKind::TransferEncodingInHttp10),
            (true, None) => Ok(Body::Chunked),
            (false, length) => Ok(Body::Length(length.unwrap_or(0))),
        }
    }

    /// Whether another protocol may follow this message. HTTP/1.0 knows no `Upgrade` (RFC 9110 section 7.8).
    pub(super) fn asks_for_upgrade(&self) -> bool {
        self.is_http11 && self.has_upgrade && !self.names_h2c && self.connection_upgrade
    }
}

/// The last eight bytes of a line that goes on with `text`; `before` are those before it.
pub(super) fn last_eight(before: u64, text: &[u8]) -> u64 {
    match text.last_chunk() {
        Some(last) => u64::from_be_bytes(*last),
        None => text.iter().fold(before, |tail, byte| tail << 8 | u64::from(*byte)),
    }
}
