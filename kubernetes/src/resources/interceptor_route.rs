//! `InterceptorRoute` v1beta1 of `http.keda.sh`.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

use super::Condition;
use crate::fields::FieldError;

/// Which requests are taken, where they go, and what their target is scaled by.
#[derive(CustomResource, Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "http.keda.sh",
    version = "v1beta1",
    kind = "InterceptorRoute",
    plural = "interceptorroutes",
    namespaced,
    status = "InterceptorRouteStatus",
    doc = "Routes requests to a Service and says what its workload is scaled by.",
    printcolumn = r#"{"name":"TargetService","type":"string","jsonPath":".spec.target.service"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct InterceptorRouteSpec {
    /// Where requests go.
    pub target: RouteTarget,
    /// Which requests are taken: those that match one of the rules. No rules match nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RoutingRule>,
    /// What the target is scaled by: at least one of the two.
    pub scaling_metric: RouteScalingMetric,
    /// Timeouts; those that are absent are the interceptor's settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<RouteTimeouts>,
    /// What happens while the target has no ready endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cold_start: Option<ColdStart>,
    /// Responses that the interceptor gives itself; the first entry that matches wins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub static_routes: Vec<StaticRoute>,
    /// Keeps a client at the pod that answered it first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_persistence: Option<SessionPersistence>,
    /// Fields that the kind does not have, found when the object was read; such an object is refused.
    #[serde(skip)]
    pub unknown_fields: Vec<FieldError>,
}

/// A Service of the object's namespace and one of its ports.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouteTarget {
    /// The Service.
    pub service: String,
    /// Its port.
    #[serde(flatten)]
    pub port: PortSelector,
}

/// One port of a Service: by number or by name.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PortSelector {
    /// Its port by number; this or `portName`.
    #[serde(default, deserialize_with = "port", skip_serializing_if = "Option::is_none")]
    pub port: Option<i32>,
    /// Its port by name; this or `port`.
    #[serde(default, deserialize_with = "port_name", skip_serializing_if = "Option::is_none")]
    pub port_name: Option<String>,
}

/// A flattened struct has no place of its own in errors, so its fields name themselves; see `object::located`.
fn named<'de, D: Deserializer<'de>, T: Deserialize<'de>>(name: &str, value: D) -> Result<Option<T>, D::Error> {
    Option::deserialize(value).map_err(|error| D::Error::custom(format_args!(".{name}: {error}")))
}

fn port<'de, D: Deserializer<'de>>(value: D) -> Result<Option<i32>, D::Error> {
    named("port", value)
}

fn port_name<'de, D: Deserializer<'de>>(value: D) -> Result<Option<String>, D::Error> {
    named("portName", value)
}

/// One of the hosts, one of the paths, and all headers must match; an empty rule matches everything.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoutingRule {
    /// Host names, `*.suffix`, or `*`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Path prefixes of whole segments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<PathRule>,
    /// Headers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<RequestHeader>,
}

/// A path prefix.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PathRule {
    /// The prefix, of whole segments.
    pub value: String,
}

/// A header that must be there, with this value where one is given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestHeader {
    /// The header; case does not matter.
    pub name: String,
    /// Its exact value; absent: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// What a target is scaled by.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouteScalingMetric {
    /// Pending requests per replica.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<ConcurrencyTarget>,
    /// Arrivals per time and replica.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_rate: Option<RequestRateTarget>,
}

/// A target of pending requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConcurrencyTarget {
    /// Pending requests per replica.
    pub target_value: i32,
}

/// A target of request rate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestRateTarget {
    /// Arrivals per `granularity` and replica.
    pub target_value: i32,
    /// Over how long the average is taken, as a Go duration.
    #[serde(default = "default_window")]
    pub window: String,
    /// The unit of time of `targetValue`, as a Go duration.
    #[serde(default = "default_granularity")]
    pub granularity: String,
}

pub(super) fn default_window() -> String {
    "1m".into()
}

pub(super) fn default_granularity() -> String {
    "1s".into()
}

/// Go durations; absent: the interceptor's setting, `0s`: no limit.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouteTimeouts {
    /// How long a request may be held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readiness: Option<String>,
    /// How long a request may take in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// From the request fully sent to the first response header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_header: Option<String>,
}

/// What happens while the target has no ready endpoint.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ColdStart {
    /// Where requests go when the target is not ready in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<ColdStartFallback>,
    /// What is answered instead of holding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placeholder: Option<Placeholder>,
    /// How many requests one interceptor holds for the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_pending_requests: Option<i32>,
    /// What happens to requests above `maxPendingRequests`.
    #[serde(default)]
    pub overflow: Overflow,
}

/// Where requests go when the target is not ready in time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ColdStartFallback {
    /// A Service of the same namespace.
    pub service: FallbackService,
}

/// A Service and one of its ports.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FallbackService {
    /// The Service.
    pub name: String,
    /// Its port.
    #[serde(flatten)]
    pub port: PortSelector,
}

/// What is answered instead of holding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Placeholder {
    /// The response; its status is 503 where none is given.
    pub response: StaticResponse,
}

/// What happens to requests above `maxPendingRequests`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Overflow {
    /// They are answered with 503.
    #[default]
    Reject,
    /// They get the placeholder.
    Placeholder,
}

/// A response that the interceptor gives itself, and to which requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StaticRoute {
    /// The requests; at least one rule.
    pub rules: Vec<RoutingRule>,
    /// The response; its status is 200 where none is given.
    pub response: StaticResponse,
    /// When it is given.
    #[serde(default)]
    pub response_mode: ResponseMode,
}

/// When a static response is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum ResponseMode {
    /// While the target has no ready endpoint.
    #[default]
    WhenUnavailable,
    /// Always.
    Always,
}

/// A response.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StaticResponse {
    /// Its status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_code: Option<i32>,
    /// Its body; this or `bodyFromConfigMap`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Where its body is; this or `body`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_from_config_map: Option<BodyFromConfigMap>,
    /// Its headers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

/// A body in a ConfigMap of the same namespace that carries the label `http.keda.sh/response-body: "true"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BodyFromConfigMap {
    /// The ConfigMap.
    pub name: String,
    /// The key in it; absent: the request path without its leading slash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// Keeps a client at the pod that answered it first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionPersistence {
    /// By what the client is known again.
    #[serde(rename = "type")]
    pub type_: SessionPersistenceType,
    /// After how long the pod is chosen anew, as a Go duration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absolute_timeout: Option<String>,
    /// The cookie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<SessionCookie>,
}

/// By what a client is known again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SessionPersistenceType {
    /// A cookie.
    Cookie,
}

/// The cookie of a session.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionCookie {
    /// Its name; absent: one made from the object's namespace and name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// What has become of the object.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InterceptorRouteStatus {
    /// `Ready` and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}
