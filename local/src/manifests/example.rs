//! A request that matches a route, to show how the app is reached.

use keda_http_core::route::Rule;
use keda_http_core::route::header::HeaderValueMatch;
use keda_http_core::route::host::HostPattern;
use keda_http_core::route::path::PathMatch;

/// A request that will be routed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// Its Host header; `None` when every host matches.
    pub host: Option<String>,
    /// Its path.
    pub path: String,
    /// The other headers that the rule asks for.
    pub headers: Vec<(String, String)>,
}

impl Example {
    /// One for each host of the rule.
    pub(super) fn matching(rule: &Rule) -> Vec<Self> {
        let any = [HostPattern::Any];
        let hosts = if rule.hosts.is_empty() {
            &any[..]
        } else {
            &rule.hosts[..]
        };
        hosts.iter().map(|host| Self::for_host(host, rule)).collect()
    }

    fn for_host(host: &HostPattern, rule: &Rule) -> Self {
        let host = match host {
            HostPattern::Exact(host) => Some(host.to_string()),
            HostPattern::Suffix(suffix) => Some(format!("any.{suffix}")),
            HostPattern::Any => None,
        };
        let path = match rule.paths.first() {
            Some(PathMatch::Prefix(prefix)) => format!("/{prefix}"),
            Some(PathMatch::Regex(_)) | None => "/".to_owned(),
        };
        let headers = rule.headers.iter().map(|header| {
            let value = match &header.value {
                HeaderValueMatch::Exact(value) => value.clone(),
                HeaderValueMatch::Present | HeaderValueMatch::Regex(_) => "any".to_owned(),
            };
            (header.name.to_string(), value)
        });
        Self {
            host,
            path,
            headers: headers.collect(),
        }
    }

    /// The command line that sends the request to this port of this machine.
    pub fn curl(&self, port: u16) -> String {
        let mut command = "curl -i".to_owned();
        let host = self.host.as_ref().map(|host| ("Host", host));
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), value));
        for (name, value) in host.into_iter().chain(headers) {
            command += &format!(" -H {}", quoted(&format!("{name}: {value}")));
        }
        let url = format!("http://127.0.0.1:{port}{}", self.path);
        let is_plain = |character: char| character.is_ascii_alphanumeric() || "/:._-~%".contains(character);
        if url.chars().all(is_plain) {
            format!("{command} {url}")
        } else {
            format!("{command} {}", quoted(&url))
        }
    }
}

/// As one word of a POSIX shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_can_be_pasted() {
        let example = Example {
            host: Some("hello.local".to_owned()),
            path: "/api".to_owned(),
            headers: Vec::new(),
        };
        assert_eq!(
            example.curl(8080),
            "curl -i -H 'Host: hello.local' http://127.0.0.1:8080/api"
        );
        let odd = Example {
            host: None,
            path: "/it's?".to_owned(),
            headers: vec![("x-version".to_owned(), "2".to_owned())],
        };
        assert_eq!(
            odd.curl(8080),
            r"curl -i -H 'x-version: 2' 'http://127.0.0.1:8080/it'\''s?'"
        );
    }
}
