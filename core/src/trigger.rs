//! Trigger metadata of KEDA, parsed once: `kedify-http`, and the keys upstream's scaler knows.
//!
//! The one parser for interceptor, scaler, webhook and `local`.

mod keys;
mod metadata;

use std::time::Duration;

use crate::route::PortRef;
use crate::route::header::HeaderRule;
use crate::route::host::HostPattern;
use crate::route::path::PathMatch;
use metadata::{Metadata, missing};

/// The trigger type that users write.
pub const KEDIFY_HTTP: &str = "kedify-http";
/// The metadata key that distinguishes several `kedify-http` triggers of a ScaledObject.
pub const TRIGGER_NAME_KEY: &str = "kedifyTrigger";

/// The subject of a call of KEDA, or of a trigger of a ScaledObject.
#[derive(Debug, Clone, PartialEq)]
pub enum Trigger {
    /// `interceptorRoute`: the InterceptorRoute of that name has the settings.
    InterceptorRoute(String),
    /// `httpScaledObject`: the HTTPScaledObject of that name has the settings.
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
    /// Keys without effect, each with the reason.
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

/// How long an arrival keeps a target active that is scaled by concurrency only. A short request may begin and end between
/// two polls of KEDA, and a workload under steady light traffic must not be scaled to zero for that.
const CONCURRENCY_LINGER: Duration = Duration::from_secs(10);

impl Scaling {
    /// How long arrivals keep the target active: the rate's window, or a short time when only concurrency is asked for.
    pub fn activity_window(&self) -> Duration {
        let rate = self.rate.map(|rate| rate.window);
        let concurrency = self.concurrency.map(|_| CONCURRENCY_LINGER);
        rate.max(concurrency).unwrap_or(CONCURRENCY_LINGER)
    }
}

/// Which objects are rewired so that their traffic passes the interceptors.
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
    /// Parses the value of `trafficAutowire`, for objects that have it in an annotation.
    ///
    /// # Errors
    /// Names the key, its value and what is allowed.
    pub fn parse(text: &str) -> Result<Self, TriggerError> {
        keys::autowire(&Metadata::new([("trafficAutowire", text)]))
    }
}

impl AutowireKind {
    /// The name in triggers.
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
    /// Parses the values of `healthcheckPath` and `healthcheckResponse`, for objects that have them in annotations.
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

/// Why metadata is not a valid trigger. Names the key, its value and what is allowed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct TriggerError(String);

impl Trigger {
    /// Parses trigger metadata as KEDA sends it.
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
        Err(TriggerError(format!(
            "the metadata names no target; expected one of interceptorRoute, httpScaledObject, \
             interceptorTargetPendingRequests, or hosts with scalingMetric; found: {}",
            metadata.key_list()
        )))
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
        let mut warnings = keys::without_effect(metadata);
        let autowire = keys::autowire(metadata)?;
        let fallback_service = metadata.get("fallbackService").map(ToOwned::to_owned);
        if autowire == Autowire::Service && fallback_service.is_none() {
            let allowed = "with trafficAutowire: service it must name the Service that has the pods";
            return Err(missing("fallbackService", allowed));
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
            warnings,
        })
    }
}

#[cfg(test)]
mod tests;
