//! The request line, followed as far as its target matters (RFC 9112 section 3.2).

/// What the next byte of a request line belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::inbound) enum Part {
    #[default]
    Method,
    /// The target, up to its query.
    Path,
    Query,
    Version,
}

/// What a byte means where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::inbound) enum Class {
    /// It passes.
    Plain,
    /// With it another part begins.
    Next(Part),
    /// Not allowed in a URI, but sent by real clients and unambiguous: it is percent-encoded, since hyper refuses it.
    Encode,
    /// No URI contains it (RFC 3986): not ASCII, or the mark of a fragment, which hyper would cut off silently.
    Refuse,
}

impl Part {
    /// What `byte` means in this part.
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

    /// Skips what passes: the first byte that does not, and this part's or the next one's name for it.
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
