//! `HTTPScaledObject` v1alpha1 of `http.keda.sh`, upstream's former kind.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Condition;
use super::interceptor_route::{PortSelector, RequestHeader, default_granularity, default_window};
use crate::fields::FieldError;

/// Which requests are taken, where they go, and how their workload is scaled.
#[derive(CustomResource, Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "http.keda.sh",
    version = "v1alpha1",
    kind = "HTTPScaledObject",
    root = "HttpScaledObject",
    plural = "httpscaledobjects",
    shortname = "httpso",
    namespaced,
    status = "HttpScaledObjectStatus",
    doc = "Routes requests to a Service and scales its workload; InterceptorRoute has taken its place.",
    printcolumn = r#"{"name":"TargetWorkload","type":"string","jsonPath":".status.targetWorkload"}"#,
    printcolumn = r#"{"name":"TargetService","type":"string","jsonPath":".status.targetService"}"#,
    printcolumn = r#"{"name":"MinReplicas","type":"integer","jsonPath":".spec.replicas.min"}"#,
    printcolumn = r#"{"name":"MaxReplicas","type":"integer","jsonPath":".spec.replicas.max"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct HttpScaledObjectSpec {
    /// Host names, `*.suffix`, or `*`; none: every host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Path prefixes of whole segments; none: every path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub path_prefixes: Vec<String>,
    /// Headers; all must match.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<RequestHeader>,
    /// What is scaled, and where requests go.
    pub scale_target_ref: HttpScaleTargetRef,
    /// Where requests go when the target is not ready in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cold_start_timeout_failover_ref: Option<ColdStartTimeoutFailoverRef>,
    /// The bounds of the scaling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<Replicas>,
    /// Deprecated; pending requests per replica where `scalingMetric` says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_pending_requests: Option<i32>,
    /// The ScaledObject's `cooldownPeriod`, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaledown_period: Option<i32>,
    /// The ScaledObject's `initialCooldownPeriod`, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_cooldown_period: Option<i32>,
    /// What the workload is scaled by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling_metric: Option<HttpScalingMetric>,
    /// Timeouts; those that are absent or zero are the interceptor's settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<HttpTimeouts>,
    /// Fields that the kind does not have, found when the object was read; such an object is refused.
    #[serde(skip)]
    pub unknown_fields: Vec<FieldError>,
}

/// A workload and the Service in front of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpScaleTargetRef {
    /// The workload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The workload's API version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// The workload's kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The Service.
    pub service: String,
    /// Its port.
    #[serde(flatten)]
    pub port: PortSelector,
}

/// Where requests go when the target is not ready in time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ColdStartTimeoutFailoverRef {
    /// A Service of the same namespace.
    pub service: String,
    /// Its port.
    #[serde(flatten)]
    pub port: PortSelector,
    /// How long requests are held before, in seconds.
    #[serde(default = "default_failover_seconds")]
    pub timeout_seconds: i32,
}

fn default_failover_seconds() -> i32 {
    30
}

/// The bounds of the scaling.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Replicas {
    /// The fewest; 0 where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<i32>,
    /// The most; 100 where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<i32>,
}

/// What a workload is scaled by; the rate goes before the concurrency.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpScalingMetric {
    /// Pending requests per replica.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<HttpConcurrency>,
    /// Arrivals per time and replica.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_rate: Option<HttpRequestRate>,
}

/// A target of pending requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpConcurrency {
    /// Pending requests per replica.
    #[serde(default = "default_target")]
    pub target_value: i64,
}

/// A target of request rate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpRequestRate {
    /// Arrivals per `granularity` and replica.
    #[serde(default = "default_target")]
    pub target_value: i64,
    /// Over how long the average is taken, as a Go duration.
    #[serde(default = "default_window")]
    pub window: String,
    /// The unit of time of `targetValue`, as a Go duration.
    #[serde(default = "default_granularity")]
    pub granularity: String,
}

fn default_target() -> i64 {
    100
}

/// Go durations; absent or `0s`: the interceptor's setting.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpTimeouts {
    /// How long a request may be held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition_wait: Option<String>,
    /// From the request fully sent to the first response header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_header: Option<String>,
}

/// What has become of the object.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpScaledObjectStatus {
    /// `apiVersion/kind/name` of the workload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_workload: Option<String>,
    /// `service:port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_service: Option<String>,
    /// `Ready` and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}
