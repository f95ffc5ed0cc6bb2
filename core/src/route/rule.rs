//! The conditions of a route or of a reply, and the match of one rule: for lists, whose order decides instead of the
//! precedence of the table.

use http::HeaderMap;

use super::header::HeaderRule;
use super::host::HostPattern;
use super::path::PathMatch;

/// Conditions on a request: one of the hosts, one of the paths, and all headers must match.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rule {
    /// No hosts match every host.
    pub hosts: Vec<HostPattern>,
    /// No paths match every path.
    pub paths: Vec<PathMatch>,
    /// No headers match every request.
    pub headers: Vec<HeaderRule>,
}

impl Rule {
    /// Whether the rule matches a request with a normalised host and a decoded path.
    pub(crate) fn matches(&self, host: &str, path: &str, headers: &HeaderMap) -> bool {
        (self.hosts.is_empty() || self.hosts.iter().any(|pattern| pattern.matches(host)))
            && (self.paths.is_empty() || self.paths.iter().any(|own| own.matches(path)))
            && self.headers.iter().all(|header| header.matches(headers))
    }
}
