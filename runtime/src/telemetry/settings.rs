//! The span pipeline as the environment describes it.

use std::time::Duration;

use http::Uri;
use http::header::{HeaderName, HeaderValue};
use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;

use super::propagation::Propagation;
use super::sampling::Sampling;
use crate::env::{EnvError, Environment};

const ENABLED: &str = "OTEL_EXPORTER_OTLP_TRACES_ENABLED";
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL";
const RESOURCE_ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";
const A_DAY_IN_MILLISECONDS: u64 = 24 * 60 * 60 * 1000;
const MOST_SPANS: u64 = 1 << 20;

/// Everything about spans that is read from the environment.
#[derive(Debug)]
pub(super) struct SpanSettings {
    pub(super) destination: Destination,
    pub(super) propagation: Propagation,
    pub(super) sampling: Sampling,
    pub(super) batch: Batch,
    attributes: Vec<(String, String)>,
}

/// Where spans go.
#[derive(Debug)]
pub(super) enum Destination {
    /// Standard output, one line each.
    Console,
    /// A collector.
    Collector(Collector),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Grpc,
    Http,
}

/// A collector that speaks OTLP.
#[derive(Debug)]
pub(super) struct Collector {
    pub(super) protocol: Protocol,
    /// With scheme; `https` is TLS, `http` is plain text.
    pub(super) endpoint: Uri,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) timeout: Duration,
    /// PEM text of certificate authorities to trust besides the system's.
    pub(super) certificates: Option<Vec<u8>>,
}

/// How spans are collected before they are sent (`OTEL_BSP_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Batch {
    /// How long a span waits for others.
    pub(super) delay: Duration,
    /// How many spans may wait; more are dropped.
    pub(super) queue: usize,
    /// How many are sent at once.
    pub(super) size: usize,
    /// How long one export may take, repetitions included.
    pub(super) timeout: Duration,
}

impl SpanSettings {
    /// `None` when spans are off, which is the default; nothing else is read then.
    pub(super) fn from_environment(environment: &Environment) -> Result<Option<Self>, EnvError> {
        if !environment.boolean(ENABLED)?.unwrap_or(false) {
            return Ok(None);
        }
        Ok(Some(Self {
            destination: Destination::from_environment(environment)?,
            propagation: Propagation::from_environment(environment)?,
            sampling: Sampling::from_environment(environment)?,
            batch: Batch::from_environment(environment)?,
            attributes: pairs(environment, RESOURCE_ATTRIBUTES)?,
        }))
    }

    /// Who emits the spans: the given attributes, and a service name that they cannot change.
    pub(super) fn resource(&self, service_name: &'static str) -> Resource {
        let given = self.attributes.iter();
        let given = given.map(|(name, value)| KeyValue::new(name.clone(), value.clone()));
        Resource::builder_empty()
            .with_attributes([
                KeyValue::new("telemetry.sdk.name", "opentelemetry"),
                KeyValue::new("telemetry.sdk.language", "rust"),
            ])
            .with_attributes(given)
            .with_service_name(service_name)
            .build()
    }
}

impl Destination {
    fn from_environment(environment: &Environment) -> Result<Self, EnvError> {
        let parse = |text: &str| match text.to_ascii_lowercase().as_str() {
            "console" => Ok(None),
            "http/protobuf" => Ok(Some(Protocol::Http)),
            "grpc" => Ok(Some(Protocol::Grpc)),
            _ => Err(()),
        };
        let protocol = environment.parsed(PROTOCOL, "console, http/protobuf or grpc", parse)?;
        match protocol.flatten() {
            None => Ok(Self::Console),
            Some(protocol) => Ok(Self::Collector(Collector::from_environment(protocol, environment)?)),
        }
    }
}

impl Collector {
    fn from_environment(protocol: Protocol, environment: &Environment) -> Result<Self, EnvError> {
        let timeout = milliseconds(environment, &either(environment, "TIMEOUT"))?;
        Ok(Self {
            protocol,
            endpoint: endpoint(protocol, environment)?,
            headers: headers(environment)?,
            timeout: timeout.unwrap_or(Duration::from_secs(10)),
            certificates: certificates(environment)?,
        })
    }
}

impl Batch {
    fn from_environment(environment: &Environment) -> Result<Self, EnvError> {
        let queue = spans(environment, "OTEL_BSP_MAX_QUEUE_SIZE")?.unwrap_or(2048);
        let size = spans(environment, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE")?.unwrap_or(512);
        let delay = milliseconds(environment, "OTEL_BSP_SCHEDULE_DELAY")?;
        let timeout = milliseconds(environment, "OTEL_BSP_EXPORT_TIMEOUT")?;
        Ok(Self {
            delay: delay.unwrap_or(Duration::from_secs(5)),
            queue,
            size: size.min(queue),
            timeout: timeout.unwrap_or(Duration::from_secs(30)),
        })
    }
}

/// The name of a setting for traces if it is set, else the name for all signals.
fn either(environment: &Environment, setting: &str) -> String {
    let traces = format!("OTEL_EXPORTER_OTLP_TRACES_{setting}");
    match environment.get(&traces) {
        Some(_) => traces,
        None => format!("OTEL_EXPORTER_OTLP_{setting}"),
    }
}

/// A duration in milliseconds, as the OpenTelemetry specification says: `5` is five milliseconds, not seconds.
fn milliseconds(environment: &Environment, name: &str) -> Result<Option<Duration>, EnvError> {
    let allowed = "a whole number of milliseconds, 1 to 86400000";
    let number = in_range(environment, name, allowed, A_DAY_IN_MILLISECONDS)?;
    Ok(number.map(Duration::from_millis))
}

fn spans(environment: &Environment, name: &str) -> Result<Option<usize>, EnvError> {
    let number = in_range(environment, name, "a number of spans, 1 to 1048576", MOST_SPANS)?;
    Ok(number.and_then(|number| usize::try_from(number).ok()))
}

fn in_range(environment: &Environment, name: &str, allowed: &str, most: u64) -> Result<Option<u64>, EnvError> {
    environment.parsed(name, allowed, |text| {
        let number = text.parse::<u64>().ok();
        number.filter(|number| (1..=most).contains(number)).ok_or(())
    })
}

/// The traces endpoint is used as it is; the one of all signals is a base for HTTP (OTLP exporter specification).
fn endpoint(protocol: Protocol, environment: &Environment) -> Result<Uri, EnvError> {
    let name = either(environment, "ENDPOINT");
    let is_base = name == "OTEL_EXPORTER_OTLP_ENDPOINT";
    let default_scheme = default_scheme(environment)?;
    let parsed = match protocol {
        Protocol::Http => environment.parsed(&name, "a URL such as http://collector:4318/v1/traces", |text| {
            let url = url(text).ok_or(())?;
            if is_base { below(&url, "v1/traces") } else { Ok(url) }
        })?,
        Protocol::Grpc => {
            let allowed = "a URL such as http://collector:4317, or a host with a port such as collector:4317";
            environment.parsed(&name, allowed, |text| grpc_url(text, default_scheme).ok_or(()))?
        }
    };
    Ok(parsed.unwrap_or_else(|| match protocol {
        Protocol::Http => Uri::from_static("http://localhost:4318/v1/traces"),
        Protocol::Grpc => Uri::from_static("http://localhost:4317"),
    }))
}

/// What a gRPC endpoint without a scheme means.
fn default_scheme(environment: &Environment) -> Result<&'static str, EnvError> {
    let insecure = environment.boolean(&either(environment, "INSECURE"))?.unwrap_or(false);
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
fn headers(environment: &Environment) -> Result<Vec<(HeaderName, HeaderValue)>, EnvError> {
    let variable = either(environment, "HEADERS");
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

fn certificates(environment: &Environment) -> Result<Option<Vec<u8>>, EnvError> {
    environment.parsed(
        &either(environment, "CERTIFICATE"),
        "the path of a readable file of certificates in PEM format",
        |path| std::fs::read(path).ok().filter(|text| contains_pem(text)).ok_or(()),
    )
}

fn contains_pem(text: &[u8]) -> bool {
    text.windows(11).any(|window| window == b"-----BEGIN ")
}

#[cfg(test)]
mod tests;
