//! Trigger metadata of KEDA, parsed once: `kedify-http`, and the keys upstream's scaler knows.
//!
//! The one parser for interceptor, scaler, webhook and `local`.

mod keys;
mod metadata;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::route::PortRef;
use crate::route::header::HeaderRule;
use crate::route::host::HostPattern;
use crate::route::path::PathMatch;
use metadata::Metadata;

/// The trigger type that users write.
pub const KEDIFY_HTTP: &str = "kedify-http";
/// The metadata key that distinguishes several `kedify-http` triggers of a ScaledObject.
pub const TRIGGER_NAME_KEY: &str = "kedifyTrigger";

/// What a call of KEDA, or a trigger of a ScaledObject, is about.
#[derive(Debug, Clone, PartialEq)]
pub enum Trigger {
    /// `interceptorRoute`: the InterceptorRoute of that name says the rest.
    InterceptorRoute(String),
    /// `httpScaledObject`: the HTTPScaledObject of that name says the rest.
    HttpScaledObject(String),
    /// `interceptorTargetPendingRequests`: the interceptor's own scaling, with its target.
    InterceptorPending(f64),
    /// `hosts` and `scalingMetric`: a `kedify-http` trigger, complete in itself.
    KedifyHttp(Box<KedifyHttp>),
}

/// A `kedify-http` trigger.
#[derive(Debug, Clone, PartialEq)]
pub struct KedifyHttp {
    /// Its name, when the ScaledObject has several (`kedifyTrigger`).
    pub name: Option<String>,
    /// `hosts`, at least one.
    pub hosts: Vec<HostPattern>,
    /// `pathPrefixes` and `pathRegex`.
    pub paths: Vec<PathMatch>,
    /// `headers`.
    pub headers: Vec<HeaderRule>,
    /// `service`.
    pub service: String,
    /// `port` or `portName`.
    pub port: PortRef,
    /// `fallbackService`: with [`Autowire::Service`] the Service that has the pods.
    pub fallback_service: Option<String>,
    /// `scalingMetric`, `targetValue`, `window`, `granularity`.
    pub scaling: Scaling,
    /// `trafficAutowire`.
    pub autowire: Autowire,
    /// `healthcheckPath` and `healthcheckResponse`.
    pub healthcheck: Option<Healthcheck>,
    /// Known keys of later features, as they were given.
    pub later: BTreeMap<String, String>,
    /// What is odd but no error: unknown keys, keys without effect.
    pub warnings: Vec<String>,
}

/// What a target is scaled by. At least one is set; upstream's InterceptorRoute may set both.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Scaling {
    /// Target of pending requests per replica.
    pub concurrency: Option<f64>,
    /// Target of request rate per replica.
    pub rate: Option<RateTarget>,
}

/// A target of request rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RateTarget {
    /// Arrivals per `granularity` and replica.
    pub value: f64,
    /// Over how long the average is taken.
    pub window: Duration,
    /// The unit of time the value is given in.
    pub granularity: Duration,
}

/// The window where none is given.
pub const DEFAULT_WINDOW: Duration = Duration::from_secs(60);
/// The granularity where none is given.
pub const DEFAULT_GRANULARITY: Duration = Duration::from_secs(1);
/// The target per replica where none is given.
pub const DEFAULT_TARGET: f64 = 100.0;

/// How long an arrival keeps a target active that is scaled by concurrency only. Between two of KEDA's looks a short
/// request begins and ends unseen; a workload under steady light traffic must not go to zero for that.
const CONCURRENCY_LINGER: Duration = Duration::from_secs(10);

impl Scaling {
    /// How long arrivals keep the target active: the rate's window, or a short time when only concurrency is asked for.
    pub fn activity_window(&self) -> Duration {
        let rate = self.rate.map(|rate| rate.window);
        let concurrency = self.concurrency.map(|_| CONCURRENCY_LINGER);
        rate.max(concurrency).unwrap_or(CONCURRENCY_LINGER)
    }
}

/// Which objects are rewired so that traffic passes the data path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Autowire {
    /// No `trafficAutowire`: every kind but `service`.
    Unset,
    /// `false`.
    Off,
    /// `service`: the endpoints of a selector-less Service.
    Service,
    /// A list of route kinds.
    Kinds(Vec<AutowireKind>),
}

/// A kind of route object that can be rewired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AutowireKind {
    /// `httproute`
    HttpRoute,
    /// `ingress`
    Ingress,
    /// `virtualservice`
    VirtualService,
    /// `route`
    Route,
    /// `gloo`
    Gloo,
}

impl Autowire {
    /// The value of `trafficAutowire` by itself, for objects that have it elsewhere.
    ///
    /// # Errors
    /// Names the key, its value and what is allowed.
    pub fn parse(text: &str) -> Result<Self, TriggerError> {
        keys::autowire(&Metadata::new([("trafficAutowire", text)]))
    }
}

impl AutowireKind {
    /// As triggers name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::HttpRoute => "httproute",
            Self::Ingress => "ingress",
            Self::VirtualService => "virtualservice",
            Self::Route => "route",
            Self::Gloo => "gloo",
        }
    }
}

/// How health checks of load balancers are answered; they never count as traffic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Healthcheck {
    /// The exact path.
    pub path: String,
    /// Who answers.
    pub response: HealthcheckResponse,
}

impl Healthcheck {
    /// The values of `healthcheckPath` and `healthcheckResponse` by themselves, for objects that have them elsewhere.
    ///
    /// # Errors
    /// Names the key, its value and what is allowed.
    pub fn parse(path: Option<&str>, response: Option<&str>) -> Result<Option<Self>, TriggerError> {
        let path = path.map(|path| ("healthcheckPath", path));
        let response = response.map(|response| ("healthcheckResponse", response));
        keys::healthcheck(&Metadata::new(path.into_iter().chain(response)))
    }
}

/// Who answers a health check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthcheckResponse {
    /// The app while it has endpoints, else the interceptor with 200.
    Passthrough,
    /// Always the interceptor, with 200.
    Static,
}

/// Why metadata is not a valid trigger. Names the key, the value and what is allowed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TriggerError {
    /// A required key is absent.
    #[error("{key} is missing; {allowed}")]
    Missing {
        /// The key.
        key: &'static str,
        /// What it must be.
        allowed: &'static str,
    },
    /// A key's value cannot be used.
    #[error("{key}: {value:?} cannot be used; {allowed}")]
    Invalid {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// What it must be.
        allowed: String,
    },
    /// Keys that exclude each other.
    #[error("{0} and {1} exclude each other; give one of them")]
    Both(&'static str, &'static str),
    /// None of the keys that say what the call is about.
    #[error(
        "the metadata names no target; expected one of interceptorRoute, httpScaledObject, interceptorTargetPendingRequests, or hosts with scalingMetric; found: {found}"
    )]
    NoSubject {
        /// The keys that were found.
        found: String,
    },
}

impl Trigger {
    /// Parses trigger metadata as KEDA hands it over.
    ///
    /// # Errors
    /// Names the key, its value and what is allowed.
    pub fn from_metadata<'a>(metadata: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, TriggerError> {
        let metadata = Metadata::new(metadata);
        if let Some(name) = metadata.get("interceptorRoute") {
            return Ok(Self::InterceptorRoute(name.to_owned()));
        }
        if let Some(name) = metadata.get("httpScaledObject") {
            return Ok(Self::HttpScaledObject(name.to_owned()));
        }
        if metadata.get("interceptorTargetPendingRequests").is_some() {
            return Ok(Self::InterceptorPending(
                metadata
                    .positive("interceptorTargetPendingRequests")?
                    .unwrap_or(DEFAULT_TARGET),
            ));
        }
        if metadata.get("hosts").is_some() || metadata.get("scalingMetric").is_some() {
            return Ok(Self::KedifyHttp(Box::new(KedifyHttp::read(&metadata)?)));
        }
        Err(TriggerError::NoSubject {
            found: metadata.key_list(),
        })
    }
}

impl KedifyHttp {
    /// Parses metadata that is known to be a `kedify-http` trigger's (`Trigger::from_metadata` decides by the keys; this
    /// does not).
    ///
    /// # Errors
    /// Names the key, its value and what is allowed.
    pub fn from_metadata<'a>(metadata: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, TriggerError> {
        Self::read(&Metadata::new(metadata))
    }

    fn read(metadata: &Metadata<'_>) -> Result<Self, TriggerError> {
        let mut warnings = keys::unknown(metadata);
        let autowire = keys::autowire(metadata)?;
        let fallback_service = metadata.get("fallbackService").map(ToOwned::to_owned);
        if autowire == Autowire::Service && fallback_service.is_none() {
            return Err(TriggerError::Missing {
                key: "fallbackService",
                allowed: "with trafficAutowire: service it must name the Service that has the pods",
            });
        }
        Ok(Self {
            name: metadata.get(TRIGGER_NAME_KEY).map(ToOwned::to_owned),
            hosts: keys::hosts(metadata)?,
            paths: keys::paths(metadata)?,
            headers: keys::headers(metadata)?,
            service: metadata
                .required("service", "it must name the Service that requests go to")?
                .to_owned(),
            port: keys::port(metadata)?,
            fallback_service,
            scaling: keys::scaling(metadata, &mut warnings)?,
            autowire,
            healthcheck: keys::healthcheck(metadata)?,
            later: keys::later(metadata),
            warnings,
        })
    }
}

#[cfg(test)]
mod tests;
