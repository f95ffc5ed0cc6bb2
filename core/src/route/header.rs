//! Header rules: present, exact, wildcard or regular expression.

use http::{HeaderMap, HeaderName};

use super::anchored::{Case, anchored};

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
    /// The whole value as an anchored regular expression, without case.
    Regex(regex::Regex),
}

impl HeaderRule {
    /// Whether one of the header's lines matches.
    pub fn matches(&self, headers: &HeaderMap) -> bool {
        headers
            .get_all(&self.name)
            .iter()
            .any(|value| self.value.matches(value.as_bytes()))
    }
}

impl HeaderValueMatch {
    /// A regular expression that the whole value must match, without case.
    ///
    /// # Errors
    /// When it is not a valid regular expression, or compiles to one that is too large.
    pub fn regex(text: &str) -> Result<Self, regex::Error> {
        anchored(text, Case::DoesNotMatter).map(Self::Regex)
    }

    /// The whole value with `*` (any run) and `?` (one character), without case. As a regular expression it needs linear
    /// time, however many `*` there are.
    ///
    /// # Errors
    /// When it compiles to a regular expression that is too large.
    pub fn wildcard(text: &str) -> Result<Self, regex::Error> {
        let mut pattern = "(?s)".to_owned();
        for part in text.split_inclusive(['*', '?']) {
            let literal = part.trim_end_matches(['*', '?']);
            pattern.push_str(&regex::escape(literal));
            pattern.push_str(match &part[literal.len()..] {
                "*" => ".*",
                "?" => ".",
                _ => "",
            });
        }
        Self::regex(&pattern)
    }

    fn matches(&self, value: &[u8]) -> bool {
        match self {
            Self::Present => true,
            Self::Exact(expected) => value == expected.as_bytes(),
            Self::Regex(regex) => std::str::from_utf8(value).is_ok_and(|value| regex.is_match(value)),
        }
    }
}

impl PartialEq for HeaderValueMatch {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Present, Self::Present) => true,
            (Self::Exact(a), Self::Exact(b)) => a == b,
            (Self::Regex(a), Self::Regex(b)) => a.as_str() == b.as_str(),
            (Self::Present | Self::Exact(_) | Self::Regex(_), _) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn wildcards_take_the_whole_value_without_case() {
        for (pattern, value, expected) in [
            ("*", "", true),
            ("a*", "ABC", true),
            ("*c", "abc", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b", "abc", false),
            ("?", "é", true),
            ("", "a", false),
            ("", "", true),
            ("**b", "ab", true),
            ("a.c", "abc", false),
            ("(a|b)+*", "(A|B)+!", true),
        ] {
            let rule = HeaderValueMatch::wildcard(pattern).unwrap();
            assert_eq!(rule.matches(value.as_bytes()), expected, "{pattern} {value}");
        }
        assert!(
            HeaderValueMatch::wildcard(&"?".repeat(10_000)).is_err(),
            "it takes too much"
        );
    }

    #[test]
    fn a_regex_takes_the_whole_value_without_case() {
        let rule = HeaderValueMatch::regex("v[0-9]+|beta").unwrap();
        assert!(rule.matches(b"V12") && rule.matches(b"Beta") && !rule.matches(b"v1x") && !rule.matches(b"betas"));
        assert!(HeaderValueMatch::regex("a)|(?:b").is_err(), "it would match parts");
    }

    #[test]
    fn any_of_several_lines_may_match() {
        let mut headers = HeaderMap::new();
        headers.append("x-a", http::HeaderValue::from_static("1"));
        headers.append("x-a", http::HeaderValue::from_static("2"));
        let rule = |value| HeaderRule {
            name: HeaderName::from_static("x-a"),
            value,
        };
        assert!(rule(HeaderValueMatch::Exact("2".into())).matches(&headers));
        assert!(rule(HeaderValueMatch::Present).matches(&headers));
        assert!(!rule(HeaderValueMatch::Exact("3".into())).matches(&headers));
    }

    #[test]
    fn an_empty_value_is_present_and_is_not_absence() {
        let rule = |value| HeaderRule {
            name: HeaderName::from_static("x-a"),
            value,
        };
        let empty = HeaderMap::from_iter([(HeaderName::from_static("x-a"), http::HeaderValue::from_static(""))]);
        for value in [HeaderValueMatch::Present, HeaderValueMatch::Exact(String::new())] {
            assert!(rule(value.clone()).matches(&empty), "{value:?}");
            assert!(!rule(value.clone()).matches(&HeaderMap::new()), "{value:?}");
        }
    }
}
