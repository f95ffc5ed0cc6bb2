//! Paths: a prefix of whole segments, or a regular expression.

use std::borrow::Cow;
use std::fmt;

use super::anchored::{Case, anchored};

/// Which paths a rule takes.
#[derive(Debug, Clone)]
pub enum PathMatch {
    /// Whole leading segments: `/api` takes `/api` and `/api/x`, not `/apix`. Stored without leading and trailing
    /// slashes; empty takes all.
    Prefix(String),
    /// `pathRegex`: the whole path must match. Tried after the longer prefixes of the same host, before the empty one.
    Regex(regex::Regex),
}

impl PathMatch {
    /// A prefix as written by people: slashes at either end do not matter.
    pub fn prefix(text: &str) -> Self {
        Self::Prefix(text.trim().trim_matches('/').to_owned())
    }

    /// A regular expression that the whole path must match.
    ///
    /// # Errors
    /// When it is not a valid regular expression, or compiles to one that is too large.
    pub fn regex(text: &str) -> Result<Self, regex::Error> {
        anchored(text, Case::Matters).map(Self::Regex)
    }
}

impl PathMatch {
    /// `path` is decoded.
    pub(super) fn matches(&self, path: &str) -> bool {
        match self {
            Self::Prefix(prefix) => {
                let rest = path.trim_matches('/').strip_prefix(prefix.as_str());
                rest.is_some_and(|rest| prefix.is_empty() || rest.is_empty() || rest.starts_with('/'))
            }
            Self::Regex(regex) => regex.is_match(path),
        }
    }
}

impl fmt::Display for PathMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix(prefix) => write!(f, "/{prefix}"),
            Self::Regex(regex) => f.write_str(regex.as_str()),
        }
    }
}

impl PartialEq for PathMatch {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Prefix(a), Self::Prefix(b)) => a == b,
            (Self::Regex(a), Self::Regex(b)) => a.as_str() == b.as_str(),
            (Self::Prefix(_), Self::Regex(_)) | (Self::Regex(_), Self::Prefix(_)) => false,
        }
    }
}

/// The path as it is compared: percent-decoded, which most paths are already.
pub(crate) fn decode(path: &str) -> Cow<'_, str> {
    percent_encoding::percent_decode_str(path).decode_utf8_lossy()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded_and_invalid_ones_are_left() {
        for (path, expected) in [
            ("/a b", "/a b"),
            ("/a%20b", "/a b"),
            ("/%E2%82%ac", "/€"),
            ("/%zz%4", "/%zz%4"),
            ("/%2fx", "//x"),
            ("/%ff", "/\u{fffd}"),
        ] {
            assert_eq!(decode(path), expected);
        }
    }

    #[test]
    fn a_regex_must_match_the_whole_path() {
        let Ok(PathMatch::Regex(regex)) = PathMatch::regex("/a|/b") else {
            panic!("it is a regular expression");
        };
        assert!(regex.is_match("/a") && !regex.is_match("/ab") && !regex.is_match("x/b"));
    }

    #[test]
    fn no_regex_reaches_out_of_its_anchors() {
        assert!(PathMatch::regex("/a)|(?:/b").is_err());
    }
}
