//! One rule against one request, by itself: for lists in which the order decides and not the precedence of the table.

use http::HeaderMap;

use super::Rule;
use super::host::HostPattern;
use super::path::PathMatch;

impl Rule {
    /// Whether the rule takes a request. `host` is normalised and `path` decoded, as they are compared.
    pub(crate) fn matches(&self, host: &str, path: &str, headers: &HeaderMap) -> bool {
        (self.hosts.is_empty() || self.hosts.iter().any(|pattern| pattern.matches(host)))
            && (self.paths.is_empty() || self.paths.iter().any(|own| own.matches(path)))
            && self.headers.iter().all(|header| header.matches(headers))
    }
}

impl HostPattern {
    fn matches(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Suffix(suffix) => {
                let below = host.strip_suffix(&**suffix).and_then(|below| below.strip_suffix('.'));
                below.is_some_and(|below| !below.is_empty())
            }
            Self::Exact(own) => **own == *host,
        }
    }
}

impl PathMatch {
    fn matches(&self, path: &str) -> bool {
        match self {
            Self::Prefix(prefix) => {
                let rest = path.trim_matches('/').strip_prefix(prefix.as_str());
                rest.is_some_and(|rest| prefix.is_empty() || rest.is_empty() || rest.starts_with('/'))
            }
            Self::Regex(regex) => regex.is_match(path),
        }
    }
}
