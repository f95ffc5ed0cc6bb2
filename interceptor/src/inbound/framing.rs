//! Follows where HTTP/1 messages begin and end in the bytes of a client, without parsing them a second time.
//!
//! hyper parses the requests, and is lenient where two parsers can disagree about the end of a message: it accepts a
//! bare LF as a line end, lets `Transfer-Encoding` silently win over `Content-Length`, and serves an HTTP/1.1 request
//! without `Host`. [`Framing`] follows the same bytes and reports the first one that must not pass.
//!
//! Not checked here is what hyper refuses itself: the grammar of the request line and of names and values (so also
//! white space before a colon).
//!
//! # Upgrades
//!
//! After an HTTP/1.1 request with `Connection: upgrade` and an `Upgrade`, what follows may be another protocol, so it
//! is **not checked**. Whoever serves such a request must either switch (101) or close the connection after its
//! response: then nothing unchecked is ever read as HTTP. The request's own body is still checked.
//! [`Framing::asks_for_upgrade`] is the only place that decides this; the proxy asks it by way of
//! [`super::client::Client`].
//!
//! An `Upgrade` that lists `h2c` does not count: HTTP/2 must not be tunnelled past routing, so it is to be ignored, as
//! RFC 9110 section 7.8 allows. Nor does `CONNECT`, which is to be refused. After both the connection stays HTTP/1.

mod chunk;
mod field;
mod head;
mod target;

use memchr::memchr3;
use thiserror::Error;

use super::MAX_HEAD_BYTES;

use chunk::Chunk;
use field::Field;
use head::{Body, Head, last_eight};
use target::WholeServer;
pub(super) use target::{Class, Part};

/// The number of header lines after which others go around hyper. It leaves room for those that hyper needs.
pub(super) const PLAIN_LINES: u16 = 90;

/// Where the rewrite of a head begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RewriteFrom {
    /// In this part of the request line.
    Target(Part),
    /// Behind the target of a request for the whole server.
    WholeServer,
    /// At the start of the header line after [`PLAIN_LINES`].
    Lines,
}

/// The first byte that must not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{kind}")]
pub struct Violation {
    /// Its position in the bytes of this [`Framing::push`].
    pub offset: usize,
    pub kind: ViolationKind,
}

/// What is wrong with the bytes. Section numbers are those of RFC 9112.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ViolationKind {
    #[error("a request head is larger than {MAX_HEAD_BYTES} bytes")]
    HeadTooLarge,
    /// Section 2.2: only CRLF ends a line here.
    #[error("a line ends in LF without CR")]
    BareLf,
    /// Section 2.2.
    #[error("a CR is not followed by LF")]
    BareCr,
    /// RFC 9110 section 5.5.
    #[error("a line contains NUL")]
    Nul,
    /// Section 5.2: a header that goes on in a second line.
    #[error("a header line begins with white space")]
    ObsoleteFold,
    /// Section 3.2: not ASCII, or with a fragment.
    #[error("the request target contains a byte that no URI contains")]
    Target,
    /// Section 2.3; on HTTP/1 we speak 1.0 and 1.1.
    #[error("the request line does not end in HTTP/1.0 or HTTP/1.1")]
    Version,
    /// Section 3.2.
    #[error("an HTTP/1.1 request has no Host")]
    MissingHost,
    /// Section 3.2.
    #[error("a request has more than one Host")]
    RepeatedHost,
    /// Section 6.2: digits only, at most 2^63 - 1, since many apps read it into a signed number. A list of lengths is
    /// refused too, as RFC 9110 section 8.6 allows.
    #[error("Content-Length is not a number")]
    ContentLength,
    /// Section 6.3. Lines that repeat the same length are allowed.
    #[error("Content-Length lines differ")]
    ConflictingLengths,
    /// Section 6.1: only `chunked`, once, is understood.
    #[error("Transfer-Encoding is not exactly chunked")]
    TransferEncoding,
    /// Section 6.1: such a message may come from a peer that does not know chunks.
    #[error("an HTTP/1.0 request has Transfer-Encoding")]
    TransferEncodingInHttp10,
    /// Section 6.1: the usual sign of request smuggling.
    #[error("a request has Content-Length and Transfer-Encoding")]
    LengthAndTransferEncoding,
    /// Section 7.1: 1 to 16 hexadecimal digits, less than 2^63, then CRLF or an extension.
    #[error("a chunk size is malformed")]
    ChunkSize,
    /// Section 7.1.1: at most 256 bytes, without control characters other than a tab.
    #[error("a chunk extension is too long or malformed")]
    ChunkExtension,
    /// Section 7.1: a chunk's data ends in CRLF.
    #[error("a chunk is not followed by CRLF")]
    ChunkEnd,
}

impl ViolationKind {
    fn at(self, offset: usize) -> Violation {
        Violation { offset, kind: self }
    }
}

/// Follows the bytes of one client connection. Holds no bytes and allocates nothing.
///
/// After a [`Violation`] it must not be pushed to again.
#[derive(Debug)]
pub struct Framing {
    place: Place,
    /// The current line has a byte before its line end.
    line_begun: bool,
    /// The last byte was the CR of the current line.
    after_cr: bool,
    heads: u64,
    /// Bytes that the current head may still have, with the empty lines before it; none once unchecked bytes have come.
    head_left: usize,
    whole_server: WholeServer,
    /// The current head is being rewritten (see [`super::rewrite`]).
    is_rewritten: bool,
    head: Head,
    field: Field,
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// A request line, or the empty lines that may come before it.
    RequestLine {
        part: Part,
        /// Its last eight bytes so far.
        tail: u64,
    },
    Fields,
    /// A body of known length, with the number of bytes that are missing.
    Body(u64),
    Chunk(Chunk),
    Trailers,
    /// After a request that asks for an upgrade.
    Unchecked,
}

impl Place {
    const REQUEST_LINE: Self = Self::RequestLine {
        part: Part::Method,
        tail: 0,
    };
}

impl Default for Framing {
    fn default() -> Self {
        Self::new()
    }
}

impl Framing {
    /// The start of a connection.
    pub fn new() -> Self {
        Self {
            place: Place::REQUEST_LINE,
            line_begun: false,
            after_cr: false,
            heads: 0,
            head_left: MAX_HEAD_BYTES,
            whole_server: WholeServer::START,
            is_rewritten: false,
            head: Head::default(),
            field: Field::default(),
        }
    }

    /// Follows the next bytes of the connection, split anywhere. If a head needs a rewrite, this stops before the first
    /// byte concerned and returns its position; the rest of the head must then be pushed again.
    ///
    /// # Errors
    ///
    /// The first byte that must not pass. All bytes before it are valid.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Option<(usize, RewriteFrom)>, Violation> {
        let mut offset = 0;
        let was_rewritten = self.is_rewritten;
        while let Some(rest) = bytes.get(offset..).filter(|rest| !rest.is_empty()) {
            let step = match self.place {
                Place::RequestLine { .. } | Place::Fields => self.head(rest),
                Place::Trailers => self.line(rest),
                Place::Body(remaining) => Ok(self.body(remaining, rest)),
                Place::Chunk(chunk) => self.chunk(chunk, rest),
                Place::Unchecked => {
                    self.head_left = 0;
                    return Ok(None);
                }
            };
            offset += step.map_err(|violation| violation.kind.at(offset + violation.offset))?;
            if self.is_rewritten && !was_rewritten {
                return Ok(Some((offset, self.rewrite_from())));
            }
        }
        Ok(None)
    }

    fn rewrite_from(&self) -> RewriteFrom {
        match self.place {
            Place::RequestLine { .. } if self.whole_server == WholeServer::Found => RewriteFrom::WholeServer,
            Place::RequestLine { part, .. } => RewriteFrom::Target(part),
            _ => RewriteFrom::Lines,
        }
    }

    /// Whether a request head has begun and is not complete.
    pub fn is_inside_head(&self) -> bool {
        match self.place {
            Place::RequestLine { .. } => self.line_begun,
            Place::Fields => true,
            Place::Body(_) | Place::Chunk(_) | Place::Trailers | Place::Unchecked => false,
        }
    }

    /// Whether a request head is complete and its body or its trailers are not.
    pub fn is_inside_body(&self) -> bool {
        matches!(self.place, Place::Body(_) | Place::Chunk(_) | Place::Trailers)
    }

    /// The number of bytes that the current message needs at least after its head.
    pub(super) fn missing(&self) -> u64 {
        match self.place {
            Place::Body(remaining) | Place::Chunk(Chunk::Data(remaining)) => remaining,
            Place::Chunk(_) | Place::Trailers => 1,
            Place::RequestLine { .. } | Place::Fields | Place::Unchecked => 0,
        }
    }

    /// Whether all messages so far are complete, and the next bytes are HTTP/1 again.
    pub fn is_between_requests(&self) -> bool {
        matches!(self.place, Place::RequestLine { .. }) && !self.line_begun && !self.after_cr
    }

    /// Whether the next bytes may belong to another protocol, because a request that asks for an upgrade is complete.
    pub fn is_unchecked(&self) -> bool {
        matches!(self.place, Place::Unchecked)
    }

    /// Whether the last complete head asks for an upgrade. Nothing is checked after its message.
    pub fn asks_for_upgrade(&self) -> bool {
        self.is_unchecked() || (self.is_inside_body() && self.head.asks_for_upgrade())
    }

    /// Whether the client has sent something behind its last complete message: part of a next one, empty lines, or
    /// bytes of the protocol that it asks for.
    pub(super) fn is_ahead(&self) -> bool {
        match self.place {
            Place::RequestLine { .. } | Place::Fields | Place::Unchecked => self.head_left < MAX_HEAD_BYTES,
            Place::Body(_) | Place::Chunk(_) | Place::Trailers => false,
        }
    }

    /// The number of complete request heads.
    pub fn heads(&self) -> u64 {
        self.heads
    }

    /// All steps get at least one byte and return how many they consumed.
    fn head(&mut self, rest: &[u8]) -> Result<usize, Violation> {
        if self.head_left == 0 {
            return Err(ViolationKind::HeadTooLarge.at(0));
        }
        let heads = self.heads;
        let taken = self.line(&rest[..rest.len().min(self.head_left)])?;
        let is_complete = self.heads != heads;
        self.head_left = if is_complete {
            MAX_HEAD_BYTES
        } else {
            self.head_left - taken
        };
        Ok(taken)
    }

    fn line(&mut self, rest: &[u8]) -> Result<usize, Violation> {
        if self.after_cr {
            return self.line_feed(rest, 0);
        }
        let end = memchr3(b'\r', b'\n', 0, rest).unwrap_or(rest.len());
        let taken = self.text(&rest[..end])?;
        if taken < end {
            return Ok(taken);
        }
        match rest.get(end) {
            None => Ok(end),
            Some(b'\n') => Err(ViolationKind::BareLf.at(end)),
            Some(0) => Err(ViolationKind::Nul.at(end)),
            Some(_) if end + 1 == rest.len() => {
                self.after_cr = true;
                Ok(end + 1)
            }
            Some(_) => self.line_feed(rest, end + 1),
        }
    }

    /// Follows part of a line, without its line end. Returns how much: all, or up to where a rewrite must begin.
    fn text(&mut self, text: &[u8]) -> Result<usize, Violation> {
        let Some(&first) = text.first() else { return Ok(0) };
        let begins = !self.line_begun;
        match self.place {
            Place::RequestLine { part, tail } => return self.request_line(part, tail, text),
            _ if begins && matches!(first, b' ' | b'\t') => return Err(ViolationKind::ObsoleteFold.at(0)),
            Place::Fields if begins && self.head.lines == PLAIN_LINES && !self.is_rewritten => {
                self.is_rewritten = true;
                return Ok(0);
            }
            Place::Fields => self.field.feed(text, &mut self.head),
            _ => {}
        }
        self.line_begun = true;
        Ok(text.len())
    }

    fn request_line(&mut self, mut part: Part, tail: u64, text: &[u8]) -> Result<usize, Violation> {
        let mut taken = 0;
        let taken = loop {
            match part.skip(&text[taken..]) {
                None => break text.len(),
                Some((at, Class::Refuse)) => return Err(ViolationKind::Target.at(taken + at)),
                Some((at, _)) if self.is_rewritten => taken += at + 1,
                Some((at, _)) => {
                    self.is_rewritten = true;
                    break taken + at;
                }
            }
        };
        let taken = match self.whole_server.find(&text[..taken]) {
            Some(at) if !self.is_rewritten => {
                self.is_rewritten = true;
                part = Part::Path;
                at
            }
            _ => taken,
        };
        let tail = last_eight(tail, &text[..taken]);
        self.place = Place::RequestLine { part, tail };
        self.line_begun = true;
        Ok(taken)
    }

    /// The byte at `at` is where an LF must be.
    fn line_feed(&mut self, rest: &[u8], at: usize) -> Result<usize, Violation> {
        if rest[at] != b'\n' {
            return Err(ViolationKind::BareCr.at(at));
        }
        let was_empty = !self.line_begun;
        self.end_line(was_empty).map_err(|kind| kind.at(at))?;
        self.line_begun = false;
        self.after_cr = false;
        Ok(at + 1)
    }

    fn end_line(&mut self, was_empty: bool) -> Result<(), ViolationKind> {
        match self.place {
            Place::RequestLine { .. } if was_empty => {} // Section 2.2: empty lines before a request line are ignored.
            Place::RequestLine { tail, .. } => {
                self.head.end_request_line(tail)?;
                self.place = Place::Fields;
            }
            Place::Fields if was_empty => self.end_head()?,
            Place::Fields => {
                self.head.lines = self.head.lines.saturating_add(1);
                std::mem::take(&mut self.field).end(&mut self.head)?;
            }
            _ if was_empty => self.end_message(),
            _ => {}
        }
        Ok(())
    }

    fn end_head(&mut self) -> Result<(), ViolationKind> {
        match self.head.body()? {
            Body::Length(0) => self.end_message(),
            Body::Length(length) => self.place = Place::Body(length),
            Body::Chunked => self.place = Place::Chunk(Chunk::default()),
        }
        self.heads += 1;
        self.whole_server = WholeServer::START;
        self.is_rewritten = false;
        Ok(())
    }

    fn end_message(&mut self) {
        let head = std::mem::take(&mut self.head);
        self.place = if head.asks_for_upgrade() {
            Place::Unchecked
        } else {
            Place::REQUEST_LINE
        };
    }

    fn body(&mut self, remaining: u64, rest: &[u8]) -> usize {
        let taken = upto(remaining, rest);
        match remaining - taken as u64 {
            0 => self.end_message(),
            remaining => self.place = Place::Body(remaining),
        }
        taken
    }

    fn chunk(&mut self, chunk: Chunk, rest: &[u8]) -> Result<usize, Violation> {
        if let Chunk::Data(remaining) = chunk {
            let taken = upto(remaining, rest);
            self.place = Place::Chunk(Chunk::after_data(remaining - taken as u64));
            return Ok(taken);
        }
        self.place = match chunk.next(rest[0]).map_err(|kind| kind.at(0))? {
            Some(chunk) => Place::Chunk(chunk),
            None => Place::Trailers,
        };
        Ok(1)
    }
}

/// The number of bytes of `rest` that belong to the `remaining` bytes.
fn upto(remaining: u64, rest: &[u8]) -> usize {
    usize::try_from(remaining).map_or(rest.len(), |remaining| remaining.min(rest.len()))
}

#[cfg(test)]
mod tests;
