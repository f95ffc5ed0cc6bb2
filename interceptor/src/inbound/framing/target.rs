//! The parts of a request line, and which bytes its target may contain (RFC 9112 section 3.2).

/// The part of a request line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::inbound) enum Part {
    #[default]
    Method,
    /// The target, up to its query.
    Path,
    Query,
    Version,
}

/// What happens to a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::inbound) enum Class {
    /// It passes.
    Plain,
    /// Another part begins after it.
    Next(Part),
    /// Not allowed in a URI, but sent by real clients and unambiguous: it is percent-encoded, because hyper refuses it.
    Encode,
    /// Not allowed in a target (RFC 3986): not ASCII, or the `#` of a fragment, which hyper would drop silently.
    Refuse,
}

impl Part {
    /// What happens to `byte` in this part.
    pub(in crate::inbound) fn class(self, byte: u8) -> Class {
        match (self, byte) {
            (Self::Method, b' ') => Class::Next(Self::Path),
            (Self::Path | Self::Query, b' ') => Class::Next(Self::Version),
            (Self::Path, b'?') => Class::Next(Self::Query),
            (Self::Path, b'<' | b'>' | b'`') | (Self::Query, b'"' | b'<' | b'>') => Class::Encode,
            (Self::Path | Self::Query, b'#' | 0x80..) => Class::Refuse,
            _ => Class::Plain,
        }
    }

    /// Skips bytes that pass. Returns the position and class of the first byte that does not.
    pub(super) fn skip(&mut self, text: &[u8]) -> Option<(usize, Class)> {
        if *self == Self::Version {
            return None;
        }
        for (at, byte) in text.iter().enumerate() {
            match self.class(*byte) {
                Class::Plain => {}
                Class::Next(part) => *self = part,
                class => return Some((at, class)),
            }
        }
        None
    }
}
