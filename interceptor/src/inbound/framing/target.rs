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

/// How far a request line agrees with `OPTIONS` for an absolute URI that has neither a path nor a query: a request for
/// the whole server (RFC 9112 section 3.2.4), which hyper's URI type cannot distinguish from one for `/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WholeServer {
    /// It agrees with this many bytes of the longest beginning, `OPTIONS https://`.
    Begins(u8),
    Authority,
    Found,
    Differs,
}

impl WholeServer {
    pub(super) const START: Self = Self::Begins(0);

    /// The position of the space behind such a target.
    pub(super) fn find(&mut self, text: &[u8]) -> Option<usize> {
        for (at, byte) in text.iter().enumerate() {
            *self = match (*self, byte) {
                (Self::Begins(matched), _) => Self::begin(matched, *byte),
                (Self::Authority, b' ') => Self::Found,
                (Self::Authority, b'/' | b'?') => Self::Differs,
                (Self::Authority, _) => Self::Authority,
                (Self::Found | Self::Differs, _) => return None,
            };
            if *self == Self::Found {
                return Some(at);
            }
        }
        None
    }

    fn begin(matched: u8, byte: u8) -> Self {
        const BEGINNING: &[u8] = b"OPTIONS https://";
        const METHOD_LENGTH: u8 = 8;
        const S: u8 = 12;
        let expected = |at: u8| BEGINNING[usize::from(at)];
        let agrees =
            |at: u8| byte == expected(at) || (at >= METHOD_LENGTH && byte.to_ascii_lowercase() == expected(at));
        let next = match matched {
            _ if agrees(matched) => matched + 1,
            S if agrees(S + 1) => S + 2,
            _ => return Self::Differs,
        };
        if usize::from(next) == BEGINNING.len() {
            Self::Authority
        } else {
            Self::Begins(next)
        }
    }
}
