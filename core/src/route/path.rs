//! Paths: a prefix of whole segments, or a regular expression.

/// Which paths a rule takes.
#[derive(Debug, Clone)]
pub enum PathMatch {
    /// Whole leading segments: `/api` takes `/api` and `/api/x`, not `/apix`. Stored without leading and trailing slashes; empty takes all.
    Prefix(String),
    /// `pathRegex`: the whole path must match. Tried after exact prefixes of the same host, before the empty prefix.
    Regex(regex::Regex),
}

impl PartialEq for PathMatch {
    fn eq(&self, other: &Self) -> bool {
        let _ = other;
        todo!()
    }
}
