//! What all signals share: where the collector is, how it is spoken to, and who sends.

use std::fmt;
use std::time::Duration;

use http::Uri;
use http::header::{HeaderName, HeaderValue};
use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;

use crate::env::{EnvError, Environment};

const RESOURCE_ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";
const A_DAY_IN_MILLISECONDS: u64 = 24 * 60 * 60 * 1000;

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

    /// Its variable for a setting if it is set, else that of all signals.
    fn either(self, environment: &Environment, setting: &str) -> String {
        let own = self.variable(setting);
        match environment.get(&own) {
            Some(_) => own,
            None => format!("OTEL_EXPORTER_OTLP_{setting}"),
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
    /// With scheme; `https` is TLS, `http` is plain text.
    pub(super) endpoint: Uri,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) timeout: Duration,
    /// PEM text of certificate authorities to trust besides the system's.
    pub(super) certificates: Option<Vec<u8>>,
}

impl Collector {
    pub(super) fn from_environment(
        signal: Signal,
        protocol: Protocol,
        environment: &Environment,
    ) -> Result<Self, EnvError> {
        let timeout = milliseconds(environment, &signal.either(environment, "TIMEOUT"))?;
        Ok(Self {
            signal,
            protocol,
            endpoint: endpoint(signal, protocol, environment)?,
            headers: headers(signal, environment)?,
            timeout: timeout.unwrap_or(Duration::from_secs(10)),
            certificates: certificates(signal, environment)?,
        })
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
    pub(super) fn from_environment(environment: &Environment) -> Result<Self, EnvError> {
        Ok(Self(pairs(environment, RESOURCE_ATTRIBUTES)?))
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
pub(super) fn milliseconds(environment: &Environment, name: &str) -> Result<Option<Duration>, EnvError> {
    let allowed = "a whole number of milliseconds, 1 to 86400000";
    let number = in_range(environment, name, allowed, A_DAY_IN_MILLISECONDS)?;
    Ok(number.map(Duration::from_millis))
}

pub(super) fn in_range(
    environment: &Environment,
    name: &str,
    allowed: &str,
    most: u64,
) -> Result<Option<u64>, EnvError> {
    environment.parsed(name, allowed, |text| {
        let number = text.parse::<u64>().ok();
        number.filter(|number| (1..=most).contains(number)).ok_or(())
    })
}

/// A signal's own endpoint is used as it is; the one of all signals is a base for HTTP (OTLP exporter specification).
fn endpoint(signal: Signal, protocol: Protocol, environment: &Environment) -> Result<Uri, EnvError> {
    let name = signal.either(environment, "ENDPOINT");
    let is_base = name == "OTEL_EXPORTER_OTLP_ENDPOINT";
    let path = signal.path();
    let default_scheme = default_scheme(signal, environment)?;
    let parsed = match protocol {
        Protocol::Http => {
            let allowed = format!("a URL such as http://collector:4318/{path}");
            environment.parsed(&name, &allowed, |text| {
                let url = url(text).ok_or(())?;
                if is_base { below(&url, path) } else { Ok(url) }
            })?
        }
        Protocol::Grpc => {
            let allowed = "a URL such as http://collector:4317, or a host with a port such as collector:4317";
            environment.parsed(&name, allowed, |text| grpc_url(text, default_scheme).ok_or(()))?
        }
    };
    Ok(parsed.unwrap_or_else(|| match (protocol, signal) {
        (Protocol::Http, Signal::Traces) => Uri::from_static("http://localhost:4318/v1/traces"),
        (Protocol::Http, Signal::Metrics) => Uri::from_static("http://localhost:4318/v1/metrics"),
        (Protocol::Grpc, _) => Uri::from_static("http://localhost:4317"),
    }))
}

/// What a gRPC endpoint without a scheme means.
fn default_scheme(signal: Signal, environment: &Environment) -> Result<&'static str, EnvError> {
    let insecure = environment
        .boolean(&signal.either(environment, "INSECURE"))?
        .unwrap_or(false);
    Ok(if insecure { "http" } else { "https" })
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

fn below(base: &Uri, path: &str) -> Result<Uri, ()> {
    let mut parts = base.clone().into_parts();
    let joined = format!("{}/{path}", base.path().trim_end_matches('/'));
    parts.path_and_query = Some(joined.parse().map_err(|_| ())?);
    Uri::from_parts(parts).map_err(|_| ())
}

/// Headers often carry secrets, so an error shows only the name of the one that cannot be used.
fn headers(signal: Signal, environment: &Environment) -> Result<Vec<(HeaderName, HeaderValue)>, EnvError> {
    let variable = signal.either(environment, "HEADERS");
    let header = |(name, value): (String, String)| {
        let parsed = (name.parse::<HeaderName>(), HeaderValue::try_from(value));
        let (Ok(parsed_name), Ok(mut value)) = parsed else {
            return Err(EnvError::invalid(&variable, &format!("{name}=…"), PAIRS));
        };
        value.set_sensitive(true);
        Ok((parsed_name, value))
    };
    pairs(environment, &variable)?.into_iter().map(header).collect()
}

const PAIRS: &str = "a comma list of name=value, with %XX for characters that have a meaning";

/// `name=value,name=value`, values percent-encoded.
fn pairs(environment: &Environment, variable: &str) -> Result<Vec<(String, String)>, EnvError> {
    let pair = |entry: &String| {
        let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
        let (name, value) = (name.trim(), percent_decoded(value.trim()));
        match value {
            Some(value) if !name.is_empty() && entry.contains('=') => Ok((name.to_owned(), value)),
            _ => Err(EnvError::invalid(variable, &format!("{name}=…"), PAIRS)),
        }
    };
    environment.list(variable).iter().map(pair).collect()
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut pieces = text.split('%');
    let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        let (digits, rest) = piece.split_at_checked(2)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

fn certificates(signal: Signal, environment: &Environment) -> Result<Option<Vec<u8>>, EnvError> {
    environment.parsed(
        &signal.either(environment, "CERTIFICATE"),
        "the path of a readable file of certificates in PEM format",
        |path| std::fs::read(path).ok().filter(|text| contains_pem(text)).ok_or(()),
    )
}

fn contains_pem(text: &[u8]) -> bool {
    text.windows(11).any(|window| window == b"-----BEGIN ")
}
