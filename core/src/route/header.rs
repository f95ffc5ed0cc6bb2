//! Header rules: present, exact, wildcard or regular expression.

use http::HeaderName;

/// One condition on a header; names are compared without case, and any of several lines of the header may match.
#[derive(Debug, Clone, PartialEq)]
pub struct HeaderRule {
    /// The header.
    pub name: HeaderName,
    /// What its value must be.
    pub value: HeaderValueMatch,
}

/// What a header's value must be.
#[derive(Debug, Clone)]
pub enum HeaderValueMatch {
    /// Any value, an empty one too.
    Present,
    /// This value, case-sensitive.
    Exact(String),
    /// The whole value with `*` (any run) and `?` (one character), without case.
    Wildcard(String),
    /// The whole value as an anchored regular expression, without case.
    Regex(regex::Regex),
}

impl PartialEq for HeaderValueMatch {
    fn eq(&self, other: &Self) -> bool {
        let _ = other;
        todo!()
    }
}
