//! The keys of a `kedify-http` trigger, each read by its own rule.

use http::HeaderName;
use serde::Deserialize;

use super::metadata::{Metadata, invalid, missing};
use super::{
    Autowire, AutowireKind, DEFAULT_GRANULARITY, DEFAULT_TARGET, DEFAULT_WINDOW, Healthcheck, HealthcheckResponse,
    RateTarget, Scaling, TRIGGER_NAME_KEY, TriggerError,
};
use crate::route::PortRef;
use crate::route::header::{HeaderRule, HeaderValueMatch};
use crate::route::host::{HostPattern, InvalidHost};
use crate::route::path::PathMatch;

/// Keys with a meaning now.
const KNOWN: [&str; 15] = [
    "hosts",
    "pathPrefixes",
    "pathRegex",
    "headers",
    "service",
    "port",
    "portName",
    "fallbackService",
    "scalingMetric",
    "targetValue",
    "granularity",
    "window",
    "trafficAutowire",
    "healthcheckPath",
    "healthcheckResponse",
];

/// Keys of Kedify for features that are not supported yet.
const LATER: [&str; 8] = [
    "externalProxyMetricKey",
    "tlsSecretName",
    "loadbalancing",
    "coldStartWaitingPageEnabled",
    "coldStartWaitingPageConfigMapRef",
    "maintenancePageEnabled",
    "maintenancePageConfigMapRef",
    "healthcheckPathPrefix",
];

/// Keys for KEDA and for the scaler, which have no effect on the route.
const FOREIGN: [&str; 11] = [
    TRIGGER_NAME_KEY,
    "scalerAddress",
    "interceptorRoute",
    "httpScaledObject",
    "interceptorTargetPendingRequests",
    "enableTLS",
    "unsafeSsl",
    "caCert",
    "tlsCertFile",
    "tlsClientCert",
    "tlsClientKey",
];

/// The most conditions on headers in one trigger, as in Gateway API. Each may be a regular expression, which takes memory.
const MAX_HEADERS: usize = 16;

/// The longest window, in units of the granularity: more is a mistake.
const MAX_BUCKETS: u128 = 100_000;

/// A warning for each key without effect.
pub fn without_effect(metadata: &Metadata<'_>) -> Vec<String> {
    let later = metadata.get("healthcheckResponse") == Some("pathEmbeddedHost");
    let later =
        later.then(|| "healthcheckResponse: pathEmbeddedHost is not supported yet and has no effect".to_owned());
    let reason = |key: &str| match key {
        _ if KNOWN.contains(&key) || FOREIGN.contains(&key) => None,
        _ if LATER.contains(&key) => Some(format!("{key}: this key is not supported yet and has no effect")),
        _ => Some(format!("{key}: this key is not known and has no effect")),
    };
    metadata.keys().filter_map(reason).chain(later).collect()
}

pub fn hosts(metadata: &Metadata<'_>) -> Result<Vec<HostPattern>, TriggerError> {
    const ALLOWED: &str = "it must list at least one host, such as shop.example or *.example, separated by commas";
    let text = metadata.required("hosts", ALLOWED)?;
    let hosts = metadata.list("hosts");
    if hosts.is_empty() {
        return Err(invalid("hosts", text, ALLOWED));
    }
    hosts
        .into_iter()
        .map(|host| host.parse().map_err(|error: InvalidHost| invalid("hosts", text, error)))
        .collect()
}

pub fn paths(metadata: &Metadata<'_>) -> Result<Vec<PathMatch>, TriggerError> {
    let mut paths: Vec<PathMatch> = metadata
        .list("pathPrefixes")
        .into_iter()
        .map(PathMatch::prefix)
        .collect();
    if let Some(text) = metadata.get("pathRegex") {
        let regex = PathMatch::regex(text)
            .map_err(|error| invalid("pathRegex", text, format!("it must be a regular expression: {error}")))?;
        paths.push(regex);
    }
    if paths.is_empty() {
        paths.push(PathMatch::prefix("/"));
    }
    Ok(paths)
}

/// An entry of `headers` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct HeaderEntry {
    name: String,
    value: Option<String>,
    value_wildcard: Option<String>,
    value_regex: Option<String>,
}

pub fn headers(metadata: &Metadata<'_>) -> Result<Vec<HeaderRule>, TriggerError> {
    let Some(text) = metadata.get("headers") else {
        return Ok(Vec::new());
    };
    // Aliases can repeat very much in a few lines.
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_nodes: 1_000, max_total_scalar_bytes: text.len() + 10_000 },
        with_snippet: false,
    };
    let entries: Vec<HeaderEntry> = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        invalid(
            "headers",
            text,
            format!("it must be a list of {{name, value|valueWildcard|valueRegex}} in YAML or JSON: {error}"),
        )
    })?;
    if entries.len() > MAX_HEADERS {
        let reason = format!("it has {} entries; allowed: {MAX_HEADERS}", entries.len());
        return Err(invalid("headers", text, reason));
    }
    entries
        .into_iter()
        .map(|entry| header(entry).map_err(|reason| invalid("headers", text, reason)))
        .collect()
}

fn header(entry: HeaderEntry) -> Result<HeaderRule, String> {
    let name = HeaderName::from_bytes(entry.name.as_bytes())
        .map_err(|_| format!("{:?} is not a valid header name", entry.name))?;
    let value = match (entry.value, entry.value_wildcard, entry.value_regex) {
        (None, None, None) => HeaderValueMatch::Present,
        (Some(exact), None, None) => HeaderValueMatch::Exact(exact),
        (None, Some(wildcard), None) if wildcard == "*" => HeaderValueMatch::Present,
        (None, Some(wildcard), None) => HeaderValueMatch::wildcard(&wildcard)
            .map_err(|error| format!("valueWildcard of {name} cannot be used: {error}"))?,
        (None, None, Some(regex)) => HeaderValueMatch::regex(&regex)
            .map_err(|error| format!("valueRegex of {name} must be a regular expression: {error}"))?,
        _ => {
            return Err(format!(
                "header {name} must have only one of value, valueWildcard and valueRegex"
            ));
        }
    };
    Ok(HeaderRule { name, value })
}

pub fn port(metadata: &Metadata<'_>) -> Result<PortRef, TriggerError> {
    match (metadata.get("port"), metadata.get("portName")) {
        (Some(_), Some(_)) => Err(TriggerError(
            "port and portName exclude each other; give one of them".to_owned(),
        )),
        (Some(number), None) => {
            let parsed = number.parse().ok().filter(|number: &u16| *number > 0);
            let parsed = parsed.ok_or_else(|| invalid("port", number, "it must be a port, 1 to 65535"))?;
            Ok(PortRef::Number(parsed))
        }
        (None, Some(name)) => Ok(PortRef::Name(name.to_owned())),
        (None, None) => Err(missing(
            "port",
            "either port or portName must say which port of the Service",
        )),
    }
}

pub fn scaling(metadata: &Metadata<'_>, warnings: &mut Vec<String>) -> Result<Scaling, TriggerError> {
    const ALLOWED: &str = "it must be requestRate or concurrency";
    let target = metadata.positive("targetValue")?.unwrap_or(DEFAULT_TARGET);
    match metadata.required("scalingMetric", ALLOWED)? {
        "requestRate" => Ok(Scaling {
            rate: Some(rate(metadata, target)?),
            concurrency: None,
        }),
        "concurrency" => {
            let idle = ["window", "granularity"]
                .into_iter()
                .filter(|key| metadata.get(key).is_some());
            warnings.extend(idle.map(|key| format!("{key}: it has no effect with scalingMetric: concurrency")));
            Ok(Scaling {
                rate: None,
                concurrency: Some(target),
            })
        }
        other => Err(invalid("scalingMetric", other, ALLOWED)),
    }
}

fn rate(metadata: &Metadata<'_>, value: f64) -> Result<RateTarget, TriggerError> {
    let granularity = metadata.duration("granularity")?.unwrap_or(DEFAULT_GRANULARITY);
    let window = metadata.duration("window")?.unwrap_or(DEFAULT_WINDOW);
    let target = RateTarget {
        value,
        window,
        granularity,
    };
    match target.check().and_then(|()| target.check_length()) {
        Ok(()) => Ok(target),
        Err(problem) if granularity.is_zero() => Err(invalid(
            "granularity",
            metadata.get("granularity").unwrap_or("1s"),
            problem,
        )),
        Err(problem) => Err(invalid("window", metadata.get("window").unwrap_or("1m"), problem)),
    }
}

impl RateTarget {
    /// Whether the window can be counted in the granularity.
    ///
    /// # Errors
    /// Says what must be changed.
    pub fn check(&self) -> Result<(), String> {
        let granularity = crate::duration::format(self.granularity);
        if self.granularity.is_zero() {
            return Err("it must be longer than 0".to_owned());
        }
        if self.window < self.granularity {
            return Err(format!(
                "the window must be at least as long as the granularity ({granularity})"
            ));
        }
        Ok(())
    }

    /// Upstream's objects may have any granularity above zero, so this is for triggers only.
    fn check_length(&self) -> Result<(), String> {
        if self.window.as_nanos() / self.granularity.as_nanos() > MAX_BUCKETS {
            let granularity = crate::duration::format(self.granularity);
            return Err(format!(
                "the window must be at most {MAX_BUCKETS} times the granularity ({granularity})"
            ));
        }
        Ok(())
    }
}

pub fn autowire(metadata: &Metadata<'_>) -> Result<Autowire, TriggerError> {
    const ALLOWED: &str = "it must be false, service, or a list of httproute, ingress, virtualservice, route and gloo";
    let Some(text) = metadata.get("trafficAutowire") else {
        return Ok(Autowire::Unset);
    };
    let kinds: Vec<String> = metadata
        .list("trafficAutowire")
        .into_iter()
        .map(str::to_ascii_lowercase)
        .collect();
    let kinds: Vec<&str> = kinds.iter().map(String::as_str).collect();
    match kinds.as_slice() {
        ["false"] => Ok(Autowire::Off),
        ["service"] => Ok(Autowire::Service),
        [] => Err(invalid("trafficAutowire", text, ALLOWED)),
        several if several.contains(&"false") => {
            Err(invalid("trafficAutowire", text, "false cannot be combined with kinds"))
        }
        several if several.contains(&"service") => {
            Err(invalid("trafficAutowire", text, "service excludes all other kinds"))
        }
        several => {
            let kinds: Option<Vec<AutowireKind>> = several.iter().map(|kind| AutowireKind::from_name(kind)).collect();
            kinds
                .map(Autowire::Kinds)
                .ok_or_else(|| invalid("trafficAutowire", text, ALLOWED))
        }
    }
}

impl AutowireKind {
    fn from_name(name: &str) -> Option<Self> {
        let all = [
            Self::HttpRoute,
            Self::Ingress,
            Self::VirtualService,
            Self::Route,
            Self::Gloo,
        ];
        all.into_iter().find(|kind| kind.name() == name)
    }
}

pub fn healthcheck(metadata: &Metadata<'_>) -> Result<Option<Healthcheck>, TriggerError> {
    let response = match metadata.get("healthcheckResponse") {
        None | Some("passthrough") => HealthcheckResponse::Passthrough,
        Some("static") => HealthcheckResponse::Static,
        // Not supported yet; see `without_effect`.
        Some("pathEmbeddedHost") => return Ok(None),
        Some(other) => {
            return Err(invalid(
                "healthcheckResponse",
                other,
                "it must be passthrough or static",
            ));
        }
    };
    match (metadata.get("healthcheckPath"), metadata.get("healthcheckResponse")) {
        (Some(path), _) if path.starts_with('/') => Ok(Some(Healthcheck {
            path: path.to_owned(),
            response,
        })),
        (Some(path), _) => Err(invalid("healthcheckPath", path, "it must be a path that starts with /")),
        (None, Some(_)) => Err(missing(
            "healthcheckPath",
            "healthcheckResponse needs the path it answers",
        )),
        (None, None) => Ok(None),
    }
}
