//! Hosts: exact, wildcard suffix, or every host.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv6Addr;
use std::sync::Arc;

/// The longest host that is compared; a DNS name has at most 253 characters.
pub const MAX_LENGTH: usize = 256;

/// Which Host headers match a rule. Parsed by `FromStr`; stored in lower case, without port and trailing dot. Cheap to
/// clone: the text is shared.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    /// `*`: every host.
    Any,
    /// `*.example.com`: any depth below, never the bare domain. Holds `example.com`.
    Suffix(Arc<str>),
    /// Exactly this host.
    Exact(Arc<str>),
}

/// A text that is not a host pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a valid host; allowed: a host name, *.suffix, or *")]
pub struct InvalidHost(pub String);

impl std::str::FromStr for HostPattern {
    type Err = InvalidHost;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidHost(text.to_owned());
        let trimmed = text.trim();
        if trimmed == "*" {
            return Ok(Self::Any);
        }
        let (wildcard, name) = match trimmed.strip_prefix("*.") {
            Some(suffix) => (true, suffix),
            None => (false, trimmed),
        };
        let name = to_ascii(name).ok_or_else(invalid)?;
        let mut lowered = [0; MAX_LENGTH];
        let name = normalize(&name, &mut lowered).ok_or_else(invalid)?;
        let bad = |byte: u8| !byte.is_ascii_graphic() || b"*/?#@\\,\"<>^`{|}[]%".contains(&byte);
        let is_address = name.parse::<Ipv6Addr>().is_ok();
        if name.bytes().any(bad) || name.split('.').any(str::is_empty) || (name.contains(':') && !is_address) {
            return Err(invalid());
        }
        let name = name.into();
        Ok(if wildcard {
            Self::Suffix(name)
        } else {
            Self::Exact(name)
        })
    }
}

impl HostPattern {
    /// `host` is normalised.
    pub(super) fn matches(&self, host: &str) -> bool {
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

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Suffix(suffix) => write!(f, "*.{suffix}"),
            Self::Exact(host) => f.write_str(host),
        }
    }
}

/// A name as clients send it in `Host`: one that is not ASCII in its Punycode form (UTS 46, as browsers convert it).
/// `None` when it has none.
fn to_ascii(name: &str) -> Option<Cow<'_, str>> {
    if name.is_ascii() {
        return Some(Cow::Borrowed(name));
    }
    let (name, port) = match name.split_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (name, None),
    };
    let name = idna::domain_to_ascii_cow(name.as_bytes(), idna::AsciiDenyList::URL).ok()?;
    Some(match port {
        Some(port) => format!("{name}:{port}").into(),
        None => name.into_owned().into(),
    })
}

/// A host as it is compared: without port and trailing dot, in lower case. `None` when it is too long to be one.
pub fn normalize<'a>(host: &'a str, lowered: &'a mut [u8; MAX_LENGTH]) -> Option<&'a str> {
    let host = without_port(host);
    let host = host.strip_suffix('.').unwrap_or(host);
    if !host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return (host.len() <= MAX_LENGTH).then_some(host);
    }
    let lowered = lowered.get_mut(..host.len())?;
    lowered.copy_from_slice(host.as_bytes());
    lowered.make_ascii_lowercase();
    // Lower-casing ASCII keeps valid UTF-8 valid.
    std::str::from_utf8(lowered).ok()
}

/// `[::1]:80` is `::1`; a bare IPv6 address has several colons and no port.
fn without_port(host: &str) -> &str {
    if let Some(bracketed) = host.strip_prefix('[') {
        return bracketed.split(']').next().unwrap_or(bracketed);
    }
    match host.split_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn patterns_are_parsed_once_into_what_they_mean() {
        let parse = |text: &str| text.parse::<HostPattern>().unwrap();
        assert_eq!(parse("*"), HostPattern::Any);
        assert_eq!(parse("*.Example.com."), HostPattern::Suffix("example.com".into()));
        assert_eq!(parse("Shop.Example:8080"), HostPattern::Exact("shop.example".into()));
        assert_eq!(parse("[::1]:8080"), HostPattern::Exact("::1".into()));
    }

    #[test]
    fn fault_c1_a_name_that_is_not_ascii_is_matched_by_its_punycode() {
        for (text, expected) in [
            ("punycöde.example", "xn--punycde-e1a.example"),
            ("PUNYCÖDE.example:8080", "xn--punycde-e1a.example"),
            ("*.bücher.example.", "*.xn--bcher-kva.example"),
            ("straße.example", "xn--strae-oqa.example"),
            ("例え。テスト", "xn--r8jz45g.xn--zckzah"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ] {
            assert_eq!(text.parse::<HostPattern>().unwrap().to_string(), expected, "{text}");
        }
        for bad in [
            "a\u{ff0f}b.example",
            "ü..example",
            "ü b.example",
            "\u{ad}",
            "ü.example:x",
            &"ü".repeat(300),
        ] {
            assert!(bad.parse::<HostPattern>().is_err(), "{bad}");
        }
    }

    #[test]
    fn invalid_hosts_are_refused_and_named() {
        for bad in [
            "",
            " ",
            "a b",
            "a*.b",
            "http://a",
            "a..b",
            ".a",
            "*.*.a",
            "a,b",
            &"x".repeat(300),
        ] {
            assert!(
                bad.parse::<HostPattern>().unwrap_err().to_string().contains(bad),
                "{bad}"
            );
        }
    }

    #[test]
    fn case_port_and_trailing_dot_do_not_matter() {
        let mut lowered = [0; MAX_LENGTH];
        for (host, expected) in [
            ("Shop.EXAMPLE:80", "shop.example"),
            ("shop.example.", "shop.example"),
            ("[2001:DB8::1]:80", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
        ] {
            assert_eq!(normalize(host, &mut lowered), Some(expected));
        }
        assert_eq!(normalize(&"X".repeat(257), &mut lowered), None);
    }
}
