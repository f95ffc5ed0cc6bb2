//! One header line, followed as far as it can change where the message ends.

use super::ViolationKind;
use super::head::Head;
use crate::inbound::content_length::with_digit;

/// What is known of the current header line.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Field {
    #[default]
    Begin,
    /// All bytes so far are the beginning of this name; their number.
    Name(Name, u8),
    /// Nothing in this line matters, or nothing more.
    Other,
    Host,
    Length(Number),
    Coding(Element),
    Upgrade(Element),
    Connection(Element),
}

/// The headers that matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Connection,
    ContentLength,
    Host,
    TransferEncoding,
    Upgrade,
}

impl Name {
    /// The name that begins with `first`. `Connection` is assumed to be `Content-Length` up to its fourth byte.
    fn beginning_with(first: u8) -> Option<Self> {
        match first.to_ascii_lowercase() {
            b'c' => Some(Self::ContentLength),
            b'h' => Some(Self::Host),
            b't' => Some(Self::TransferEncoding),
            b'u' => Some(Self::Upgrade),
            _ => None,
        }
    }

    fn lower_case(self) -> &'static [u8] {
        match self {
            Self::Connection => b"connection",
            Self::ContentLength => b"content-length",
            Self::Host => b"host",
            Self::TransferEncoding => b"transfer-encoding",
            Self::Upgrade => b"upgrade",
        }
    }

    fn value(self) -> Field {
        match self {
            Self::Connection => Field::Connection(Element::default()),
            Self::ContentLength => Field::Length(Number::default()),
            Self::Host => Field::Host,
            Self::TransferEncoding => Field::Coding(Element::default()),
            Self::Upgrade => Field::Upgrade(Element::default()),
        }
    }
}

impl Field {
    /// The next part of the line, without its line end.
    pub(super) fn feed(&mut self, text: &[u8], head: &mut Head) {
        for &byte in text {
            *self = match *self {
                Self::Other | Self::Host => return,
                Self::Begin => Name::beginning_with(byte).map_or(Self::Other, |name| Self::Name(name, 1)),
                Self::Name(name, matched) => Self::in_name(name, matched, byte),
                Self::Length(number) => Self::Length(number.then(byte)),
                Self::Coding(element) => Self::Coding(element.then(byte, b"chunked")),
                Self::Upgrade(element) => Self::Upgrade(element.in_list(byte, b"h2c", &mut head.names_h2c)),
                Self::Connection(element) => {
                    Self::Connection(element.in_list(byte, b"upgrade", &mut head.connection_upgrade))
                }
            };
        }
    }

    /// The line is complete.
    pub(super) fn end(self, head: &mut Head) -> Result<(), ViolationKind> {
        match self {
            Self::Begin | Self::Name(..) | Self::Other => {}
            Self::Host if head.has_host => return Err(ViolationKind::RepeatedHost),
            Self::Host => head.has_host = true,
            Self::Length(number) => head.length = Some(number.agreeing_with(head.length)?),
            Self::Coding(element) if head.is_chunked || !element.is(b"chunked") => {
                return Err(ViolationKind::TransferEncoding);
            }
            Self::Coding(_) => head.is_chunked = true,
            Self::Upgrade(element) => {
                head.has_upgrade = true;
                head.names_h2c |= element.is(b"h2c");
            }
            Self::Connection(element) => head.connection_upgrade |= element.is(b"upgrade"),
        }
        Ok(())
    }

    fn in_name(name: Name, matched: u8, byte: u8) -> Self {
        let byte = byte.to_ascii_lowercase();
        match name.lower_case().get(usize::from(matched)) {
            None if byte == b':' => name.value(),
            Some(expected) if *expected == byte => Self::Name(name, matched + 1),
            _ if name == Name::ContentLength && matched == 3 && byte == b'n' => Self::Name(Name::Connection, 4),
            _ => Self::Other,
        }
    }
}

/// A value, or one element of a list, compared with a lower-case word. White space around it is ignored.
#[derive(Clone, Copy, Debug)]
pub(super) enum Element {
    /// It agrees with this many bytes of the word.
    Agrees(u8),
    /// The whole word and white space.
    Ended,
    Differs,
}

impl Default for Element {
    fn default() -> Self {
        Self::Agrees(0)
    }
}

impl Element {
    fn then(self, byte: u8, word: &[u8]) -> Self {
        let is_space = matches!(byte, b' ' | b'\t');
        match self {
            Self::Agrees(0) if is_space => self,
            Self::Agrees(matched) => match word.get(usize::from(matched)) {
                Some(expected) if *expected == byte.to_ascii_lowercase() => Self::Agrees(matched + 1),
                None if is_space => Self::Ended,
                _ => Self::Differs,
            },
            Self::Ended if is_space => self,
            Self::Ended | Self::Differs => Self::Differs,
        }
    }

    /// Like [`Self::then`] where commas separate elements. `found` becomes true when a complete one is the word.
    fn in_list(self, byte: u8, word: &[u8], found: &mut bool) -> Self {
        if byte != b',' {
            return self.then(byte, word);
        }
        *found |= self.is(word);
        Self::default()
    }

    fn is(self, word: &[u8]) -> bool {
        match self {
            Self::Agrees(matched) => usize::from(matched) == word.len(),
            Self::Ended => true,
            Self::Differs => false,
        }
    }
}

/// The value of a `Content-Length`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Number {
    #[default]
    Before,
    Digits(u64),
    /// A number and white space.
    Ended(u64),
    Malformed,
}

impl Number {
    fn then(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::Before, b' ' | b'\t') => self,
            (Self::Before, b'0'..=b'9') => Self::Digits(u64::from(byte - b'0')),
            (Self::Digits(value), b'0'..=b'9') => with_digit(value, byte - b'0').map_or(Self::Malformed, Self::Digits),
            (Self::Digits(value) | Self::Ended(value), b' ' | b'\t') => Self::Ended(value),
            _ => Self::Malformed,
        }
    }

    fn agreeing_with(self, earlier: Option<u64>) -> Result<u64, ViolationKind> {
        match (self, earlier) {
            (Self::Before | Self::Malformed, _) => Err(ViolationKind::ContentLength),
            (Self::Digits(value) | Self::Ended(value), Some(earlier)) if value != earlier => {
                Err(ViolationKind::ConflictingLengths)
            }
            (Self::Digits(value) | Self::Ended(value), _) => Ok(value),
        }
    }
}
