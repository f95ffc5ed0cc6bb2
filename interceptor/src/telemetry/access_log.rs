//! The access log: one line per request in the combined format, as upstream writes it.

use std::net::SocketAddr;

use http::header::{HeaderName, REFERER, USER_AGENT};
use http::{Request, Version};

/// What a line says, taken down when the request arrives.
pub(crate) struct AccessLine {
    peer: SocketAddr,
    time: jiff::Zoned,
    request: String,
    referer: String,
    user_agent: String,
    /// Bytes of the response's body.
    pub(crate) bytes: u64,
}

impl AccessLine {
    /// The line of a request, without its outcome. The query is left out, as upstream.
    pub(crate) fn new<B>(peer: SocketAddr, request: &Request<B>) -> Self {
        let header = |name: HeaderName| {
            let value = request.headers().get(name);
            value.map_or_else(String::new, |value| {
                String::from_utf8_lossy(value.as_bytes()).escape_debug().to_string()
            })
        };
        let version = match request.version() {
            Version::HTTP_10 => "HTTP/1.0",
            Version::HTTP_2 => "HTTP/2.0",
            _ => "HTTP/1.1",
        };
        Self {
            peer,
            time: jiff::Zoned::now(),
            request: format!("{} {} {version}", request.method(), request.uri().path().escape_debug()),
            referer: header(REFERER),
            user_agent: header(USER_AGENT),
            bytes: 0,
        }
    }

    /// Writes it.
    pub(crate) fn write(&self, status: u16) {
        tracing::info!(target: "access", "{}", self.text(status));
    }

    fn text(&self, status: u16) -> String {
        let Self {
            peer,
            time,
            request,
            referer,
            user_agent,
            bytes,
        } = self;
        let time = time.strftime("%d/%b/%Y:%H:%M:%S %z");
        format!("{peer} - - [{time}] \"{request}\" {status} {bytes} \"{referer}\" \"{user_agent}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_combined_format() {
        let request = Request::get("http://a/path?secret=1")
            .header("user-agent", "test \"agent\"")
            .body(())
            .unwrap();
        let line = AccessLine {
            time: "2026-11-23T10:20:30+02:00[+02:00]".parse().unwrap(),
            ..AccessLine::new(([10, 0, 0, 1], 4321).into(), &request)
        };
        let expected =
            r#"10.0.0.1:4321 - - [23/Nov/2026:10:20:30 +0200] "GET /path HTTP/1.1" 200 0 "" "test \"agent\"""#;
        assert_eq!(line.text(200), expected);
    }
}
