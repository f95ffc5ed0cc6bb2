//! Hosts: exact, wildcard suffix, or every host.

/// Which Host headers a rule takes. Parsed by `FromStr`; stored lower-cased, without port and trailing dot.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    /// `*` or an empty text: every host.
    Any,
    /// `*.example.com`: any depth below, never the bare domain. Holds `example.com`.
    Suffix(String),
    /// The very host.
    Exact(String),
}

/// A text that is no host pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no host; allowed: a host name, *.suffix, or *")]
pub struct InvalidHost(pub String);

impl std::str::FromStr for HostPattern {
    type Err = InvalidHost;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let _ = text;
        todo!()
    }
}
