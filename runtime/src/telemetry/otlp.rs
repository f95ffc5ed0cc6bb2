//! What all signals share: where the collector is, how it is spoken to, and who sends.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Uri;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use percent_encoding::percent_decode_str;

use crate::env::EnvError;
use crate::settings::{BOOLEAN, Kind, Settings, TEXT, Variable};

const RESOURCE_ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";
const A_DAY_IN_MILLISECONDS: u64 = 24 * 60 * 60 * 1000;

/// How long a flush at the end may take.
pub const FLUSH_LIMIT: Duration = Duration::from_secs(5);

/// What is sent. Each signal has variables of its own, which win over those of all signals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    Traces,
    Metrics,
}

impl Signal {
    /// Its variable for a setting.
    pub(super) fn variable(self, setting: &str) -> String {
        let signal = match self {
            Self::Traces => "TRACES",
            Self::Metrics => "METRICS",
        };
        format!("OTEL_EXPORTER_OTLP_{signal}_{setting}")
    }

    /// A setting by its own variable or that of all signals: which of them, and the value. `help` says what the
    /// variables are for, and what applies without them.
    fn read<'a, T>(self, settings: &'a Settings, setting: &str, kind: &'a Kind<T>, help: [&str; 2]) -> Read<T> {
        let [help, absent] = help;
        let conceal = |variable: Variable<'a, T>| match setting {
            "HEADERS" => variable.secret(),
            _ => variable,
        };
        let (own, of_all) = (self.variable(setting), format!("OTEL_EXPORTER_OTLP_{setting}"));
        let variable = conceal(settings.variable(own.clone(), kind, format!("{help}, for {self}")));
        match variable.optional(&format!("that of {of_all}")) {
            Some(value) => (own, Some(value)),
            // A value that cannot be used has been noted.
            None if settings.is_set(&own) => (own, None),
            None => {
                let help = format!("{help}, for all signals");
                let variable = conceal(settings.variable(of_all.clone(), kind, help));
                (of_all, variable.optional(absent))
            }
        }
    }

    /// Its path below the base of all signals.
    fn path(self) -> &'static str {
        match self {
            Self::Traces => "v1/traces",
            Self::Metrics => "v1/metrics",
        }
    }
}

/// The variable that is set, or that of all signals, and its value.
type Read<T> = (String, Option<T>);

impl fmt::Display for Signal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Traces => "spans",
            Self::Metrics => "metrics",
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Grpc,
    Http,
}

/// A collector that speaks OTLP.
#[derive(Debug)]
pub(super) struct Collector {
    signal: Signal,
    pub(super) protocol: Protocol,
    /// With scheme; `https` is TLS, `http` is plain text. Without user information, so that it can be logged.
    pub(super) endpoint: Uri,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) timeout: Duration,
    /// PEM text of certificate authorities to trust besides the system's.
    pub(super) certificates: Option<Vec<u8>>,
}

impl Collector {
    pub(super) fn read(signal: Signal, protocol: Protocol, settings: &Settings) -> Self {
        let help = ["For one export, in milliseconds", "10000"];
        let (_, timeout) = signal.read(settings, "TIMEOUT", &MILLISECONDS, help);
        let (endpoint, credentials) = split_user(endpoint(signal, protocol, settings));
        let mut headers = headers(signal, settings);
        if !headers.iter().any(|(name, _)| name == AUTHORIZATION) {
            headers.extend(credentials.map(|credentials| (AUTHORIZATION, credentials)));
        }
        Self {
            signal,
            protocol,
            endpoint,
            headers,
            timeout: timeout.unwrap_or(Duration::from_secs(10)),
            certificates: certificates(signal, settings),
        }
    }

    /// What speaks to it over HTTP.
    pub(super) fn http_client(&self) -> Result<reqwest::Client, EnvError> {
        let mut client = reqwest::Client::builder().timeout(self.timeout);
        if self.endpoint.scheme() == Some(&http::uri::Scheme::HTTP) {
            // Plain text needs no authorities; an image may have none, which would be an error.
            client = client.tls_certs_only([]);
        }
        if let Some(pem) = &self.certificates {
            let certificates = reqwest::Certificate::from_pem_bundle(pem).map_err(|error| self.unusable(&error))?;
            client = client.tls_certs_merge(certificates);
        }
        client.build().map_err(|error| self.unusable(&error))
    }

    /// What only an exporter itself can find wrong.
    pub(super) fn unusable(&self, error: &dyn fmt::Display) -> EnvError {
        let allowed = format!("usable with its certificates and headers ({error})");
        EnvError::invalid(&self.signal.variable("ENDPOINT"), &self.endpoint.to_string(), &allowed)
    }
}

/// What is said of the process besides its name.
#[derive(Debug, Clone)]
pub(super) struct Attributes(Vec<(String, String)>);

impl Attributes {
    pub(super) fn read(settings: &Settings) -> Self {
        let help = "Attributes of the process; service.name is ignored";
        let text = settings.variable(RESOURCE_ATTRIBUTES, &PAIRS, help).optional("none");
        let pair = |name, value| Some((name, value));
        let pairs = pairs(RESOURCE_ATTRIBUTES, &text.unwrap_or_default(), pair);
        Self(settings.usable(pairs).unwrap_or_default())
    }

    /// Who sends: the given attributes, and name and version of the service, which they cannot change.
    pub(super) fn resource(&self, service_name: &'static str) -> Resource {
        let given = self.0.iter();
        let given = given.map(|(name, value)| KeyValue::new(name.clone(), value.clone()));
        Resource::builder_empty()
            .with_attributes([
                KeyValue::new("telemetry.sdk.name", "opentelemetry"),
                KeyValue::new("telemetry.sdk.language", "rust"),
            ])
            .with_attributes(given)
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .with_service_name(service_name)
            .build()
    }
}

/// A duration in milliseconds, as the OpenTelemetry specification says: `5` is five milliseconds, not seconds.
pub(super) const MILLISECONDS: Kind<Duration> = Kind {
    allowed: "a whole number of milliseconds, 1 to 86400000",
    parse: |text| {
        let number = text
            .parse()
            .ok()
            .filter(|number| (1..=A_DAY_IN_MILLISECONDS).contains(number));
        number.map(Duration::from_millis)
    },
    show: |value| value.as_millis().to_string(),
};

/// A signal's own endpoint is used as it is; the one of all signals is a base for HTTP (OTLP exporter specification).
fn endpoint(signal: Signal, protocol: Protocol, settings: &Settings) -> Uri {
    let help = ["URL of the collector", "localhost, port 4318 for HTTP or 4317 for gRPC"];
    let (name, text) = signal.read(settings, "ENDPOINT", &ENDPOINT, help);
    let is_base = name == "OTEL_EXPORTER_OTLP_ENDPOINT";
    let path = signal.path();
    let default_scheme = default_scheme(signal, settings);
    let Some(text) = text else {
        return default_endpoint(signal, protocol);
    };
    let (parsed, allowed) = match protocol {
        Protocol::Http if is_base => (url(&text).and_then(|url| below(&url, path)), http_url(path)),
        Protocol::Http => (url(&text), http_url(path)),
        Protocol::Grpc => (
            grpc_url(&text, default_scheme),
            "a URL such as http://collector:4317, or a host with a port such as collector:4317".to_owned(),
        ),
    };
    let parsed = parsed.ok_or_else(|| EnvError::invalid(&name, &without_user(&text), &allowed));
    let usable = settings.usable(parsed);
    usable.unwrap_or_else(|| default_endpoint(signal, protocol))
}

fn default_endpoint(signal: Signal, protocol: Protocol) -> Uri {
    Uri::from_static(match (protocol, signal) {
        (Protocol::Http, Signal::Traces) => "http://localhost:4318/v1/traces",
        (Protocol::Http, Signal::Metrics) => "http://localhost:4318/v1/metrics",
        (Protocol::Grpc, _) => "http://localhost:4317",
    })
}

/// A URL, whose user information is often a password.
const ENDPOINT: Kind<String> = Kind {
    allowed: "a URL such as http://collector:4318, or for gRPC also a host with a port such as collector:4317",
    show: |text| without_user(text),
    ..TEXT
};
const PAIRS: Kind<String> = Kind {
    allowed: "a comma list of name=value, the values percent-encoded",
    ..TEXT
};
const CERTIFICATES: Kind<String> = Kind {
    allowed: "the path of a readable file in PEM format",
    ..TEXT
};

/// In a text that is no URL, everything before the last `@` may be a password.
fn without_user(text: &str) -> String {
    let is_scheme = |scheme: &str| scheme.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let start = match text.find("://") {
        Some(end) if is_scheme(&text[..end]) => end + 3,
        Some(_) | None => 0,
    };
    let (scheme, rest) = text.split_at(start);
    let end = url(text).and_then(|_| rest.find(['/', '?', '#'])).unwrap_or(rest.len());
    let host = rest[..end].rfind('@').map_or(0, |at| at + 1);
    format!("{scheme}{}", &rest[host..])
}

/// The endpoint without its user information, and that as the value of `Authorization` (RFC 7617).
fn split_user(endpoint: Uri) -> (Uri, Option<HeaderValue>) {
    let user = endpoint
        .authority()
        .and_then(|authority| authority.as_str().rsplit_once('@'));
    let Some((user, host)) = user else {
        return (endpoint, None);
    };
    let mut user = percent_decoded(user).unwrap_or_else(|| user.to_owned());
    if !user.contains(':') {
        user.push(':');
    }
    let mut credentials = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(user))).ok();
    credentials.iter_mut().for_each(|value| value.set_sensitive(true));
    let mut parts = endpoint.clone().into_parts();
    parts.authority = host.parse().ok();
    (Uri::from_parts(parts).unwrap_or(endpoint), credentials)
}

fn http_url(path: &str) -> String {
    format!("a URL such as http://collector:4318/{path}")
}

/// What a gRPC endpoint without a scheme means.
fn default_scheme(signal: Signal, settings: &Settings) -> &'static str {
    let help = ["Plain text when a gRPC endpoint has no scheme", "false"];
    match signal.read(settings, "INSECURE", &BOOLEAN, help).1 {
        Some(true) => "http",
        Some(false) | None => "https",
    }
}

fn url(text: &str) -> Option<Uri> {
    let url: Uri = text.parse().ok()?;
    let known = matches!(url.scheme_str(), Some("http" | "https"));
    (known && names_a_host(&url)).then_some(url)
}

/// A host, and a port that is one if there is any: `Uri` reads a port that is out of range as none.
fn names_a_host(url: &Uri) -> bool {
    let (Some(host), Some(authority)) = (url.host(), url.authority()) else {
        return false;
    };
    let has_port = !authority.as_str().ends_with(host);
    !host.is_empty() && (!has_port || authority.port_u16().is_some())
}

/// gRPC has no path of its own; one that was given, for HTTP perhaps, is left out.
fn grpc_url(text: &str, default_scheme: &str) -> Option<Uri> {
    let url = if text.contains("://") {
        url(text)?
    } else {
        let url = url(&format!("{default_scheme}://{text}"))?;
        url.port_u16()?;
        url
    };
    format!("{}://{}", url.scheme_str()?, url.authority()?).parse().ok()
}

fn below(base: &Uri, path: &str) -> Option<Uri> {
    let mut parts = base.clone().into_parts();
    let joined = format!("{}/{path}", base.path().trim_end_matches('/'));
    parts.path_and_query = Some(joined.parse().ok()?);
    Uri::from_parts(parts).ok()
}

fn headers(signal: Signal, settings: &Settings) -> Vec<(HeaderName, HeaderValue)> {
    let help = ["Headers of each export", "none"];
    let (variable, text) = signal.read(settings, "HEADERS", &PAIRS, help);
    let headers = pairs(&variable, &text.unwrap_or_default(), |name, value| {
        let (name, mut value) = (name.parse().ok()?, HeaderValue::try_from(value).ok()?);
        value.set_sensitive(true);
        Some((name, value))
    });
    settings.usable(headers).unwrap_or_default()
}

/// `name=value,name=value`, values percent-encoded. They often are secrets, and an entry that cannot be used may be
/// nothing but one, so an error shows only its position.
fn pairs<T>(variable: &str, text: &str, convert: impl Fn(String, String) -> Option<T>) -> Result<Vec<T>, EnvError> {
    let pair = |entry: &str| {
        let (name, value) = entry.split_once('=')?;
        let name = Some(name.trim()).filter(|name| !name.is_empty())?;
        convert(name.to_owned(), percent_decoded(value.trim())?)
    };
    let unusable = |position: usize| {
        let allowed = "a comma list of name=value, with %XX for characters that have a meaning";
        EnvError::invalid(variable, "…", &format!("{allowed}; entry {position} is not"))
    };
    let entries = text.split(',').zip(1..);
    entries
        .filter(|(entry, _)| !entry.trim().is_empty())
        .map(|(entry, position)| pair(entry).ok_or_else(|| unusable(position)))
        .collect()
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut escapes = text.split('%').skip(1).map(|rest| rest.as_bytes().get(..2));
    let valid = escapes.all(|digits| digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)));
    let decoded = percent_decode_str(text).decode_utf8().ok();
    decoded.filter(|_| valid).map(Cow::into_owned)
}

fn certificates(signal: Signal, settings: &Settings) -> Option<Vec<u8>> {
    let help = ["CA bundle to trust, in addition to the system's", "the system's only"];
    let (variable, path) = signal.read(settings, "CERTIFICATE", &CERTIFICATES, help);
    let read = |path: String| {
        let text = std::fs::read(&path).ok().filter(|text| contains_pem(text));
        text.ok_or_else(|| EnvError::invalid(&variable, &path, CERTIFICATES.allowed))
    };
    path.map(read).and_then(|text| settings.usable(text))
}

fn contains_pem(text: &[u8]) -> bool {
    text.windows(11).any(|window| window == b"-----BEGIN ")
}
