//! Sessions: a client stays at the endpoint that answered it first, by a cookie.
//!
//! The cookie contains the endpoint and the time of issue, and no state is kept, so every interceptor understands it. Its
//! form is upstream's: `<endpoint>.<unix seconds>`.

use std::fmt;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};

/// The name of an endpoint in cookies: the same at every interceptor while the pod lives, and not its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointId(pub u64);

/// The session settings of a route.
#[derive(Debug, Clone, PartialEq)]
pub struct Session {
    /// The cookie's name.
    pub cookie: String,
    /// After how long another endpoint may be chosen; `None`: not while the endpoint exists.
    pub absolute_timeout: Option<Duration>,
}

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl EndpointId {
    fn parse(text: &str) -> Option<Self> {
        let all_digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        u64::from_str_radix(text, 16).ok().filter(|_| all_digits).map(Self)
    }
}

impl Session {
    /// The endpoint of a request's cookie; `None` without a valid cookie that has not expired. `now` is in seconds since
    /// 1970.
    pub fn endpoint(&self, headers: &HeaderMap, now: u64) -> Option<EndpointId> {
        let cookies = headers.get_all(header::COOKIE).iter();
        let value = cookies
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .find_map(|(name, value)| (name == self.cookie).then_some(value))?;
        let (endpoint, issued) = value.trim_matches('"').split_once('.')?;
        let age = Duration::from_secs(now.saturating_sub(issued.parse().ok()?));
        let valid = self.absolute_timeout.is_none_or(|limit| age <= limit);
        valid.then(|| EndpointId::parse(endpoint)).flatten()
    }

    /// The `Set-Cookie` that keeps a client at an endpoint; `now` is in seconds since 1970, `secure` for clients that use TLS.
    pub fn set_cookie(&self, endpoint: EndpointId, now: u64, secure: bool) -> Option<HeaderValue> {
        let secure = if secure { "; Secure" } else { "" };
        let text = format!(
            "{}={endpoint}.{now}; Path=/; HttpOnly; SameSite=Lax{secure}",
            self.cookie
        );
        HeaderValue::from_str(&text).ok()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn session(seconds: Option<u64>) -> Session {
        Session {
            cookie: "sticky".into(),
            absolute_timeout: seconds.map(Duration::from_secs),
        }
    }

    fn asked(session: &Session, lines: &[&str], now: u64) -> Option<EndpointId> {
        let lines = lines
            .iter()
            .map(|line| (header::COOKIE, HeaderValue::from_str(line).unwrap()));
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name, value);
        }
        session.endpoint(&headers, now)
    }

    #[test]
    fn an_issued_cookie_is_parsed_again() {
        let (session, id) = (session(Some(60)), EndpointId(0x1f));
        let issued = session.set_cookie(id, 1000, false).unwrap();
        assert_eq!(issued, "sticky=000000000000001f.1000; Path=/; HttpOnly; SameSite=Lax");
        let pair = issued.to_str().unwrap().split(';').next().unwrap();
        assert_eq!(asked(&session, &[pair], 1000), Some(id));
        assert_eq!(asked(&session, &[&format!("a=b; {pair}; c=d")], 1060), Some(id));
        assert_eq!(asked(&session, &["a=b", pair], 1000), Some(id), "HTTP/2 splits cookies");
        let secure = session.set_cookie(id, 1000, true).unwrap();
        assert!(secure.to_str().unwrap().ends_with("; Secure"));
    }

    #[test]
    fn it_ends_with_the_absolute_timeout() {
        let cookie = "sticky=000000000000001f.1000";
        assert_eq!(asked(&session(Some(60)), &[cookie], 1061), None);
        assert_eq!(asked(&session(None), &[cookie], u64::MAX), Some(EndpointId(0x1f)));
        assert_eq!(
            asked(&session(Some(60)), &[cookie], 999),
            Some(EndpointId(0x1f)),
            "another interceptor's clock is ahead"
        );
    }

    #[test]
    fn invalid_cookies_make_no_session() {
        for cookie in [
            "",
            "sticky",
            "sticky=",
            "sticky=.1000",
            "sticky=000000000000001f",
            "sticky=000000000000001f.",
            "sticky=000000000000001f.-1",
            "sticky=1f.1000",
            "sticky=+00000000000001f.1000",
            "sticky=00000000000000zz.1000",
            "sticky2=000000000000001f.1000",
            "Sticky=000000000000001f.1000",
        ] {
            assert_eq!(asked(&session(None), &[cookie], 1000), None, "{cookie:?}");
        }
    }
}
