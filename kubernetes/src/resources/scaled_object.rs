//! The part of KEDA's `ScaledObject` v1alpha1 that we read. What else it holds is passed over.

use std::collections::BTreeMap;

use kube::CustomResource;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// What is scaled, between which bounds, and by what.
#[derive(CustomResource, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "keda.sh",
    version = "v1alpha1",
    kind = "ScaledObject",
    plural = "scaledobjects",
    shortname = "so",
    namespaced,
    schema = "disabled",
    doc = "KEDA's object, as far as we read it."
)]
#[serde(rename_all = "camelCase")]
pub struct ScaledObjectSpec {
    /// The workload.
    pub scale_target_ref: ScaleTargetRef,
    /// The fewest replicas; KEDA's default is 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_replica_count: Option<i32>,
    /// The most replicas; KEDA's default is 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_replica_count: Option<i32>,
    /// How many replicas while nothing is active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_replica_count: Option<i32>,
    /// Seconds between two polls; KEDA's default is 30.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub polling_interval: Option<i32>,
    /// Seconds from the last activity to zero; KEDA's default is 300.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cooldown_period: Option<i32>,
    /// The same for an object that was never active; KEDA's default is 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_cooldown_period: Option<i32>,
    /// What KEDA does when a scaler fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<ScaledObjectFallback>,
    /// What it is scaled by.
    pub triggers: Vec<ScaleTrigger>,
}

/// A workload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScaleTargetRef {
    /// Its name.
    pub name: String,
    /// Its API version; KEDA's default is `apps/v1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// Its kind; KEDA's default is `Deployment`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

/// What KEDA does when a scaler fails.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScaledObjectFallback {
    /// After how many failures in a row.
    pub failure_threshold: i32,
    /// How many replicas it then asks for.
    pub replicas: i32,
    /// How `replicas` is meant; KEDA's default is `static`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behavior: Option<String>,
}

/// A trigger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScaleTrigger {
    /// `kedify-http`, `external-push`, or any other of KEDA's.
    #[serde(rename = "type")]
    pub type_: String,
    /// Tells several triggers of an object apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The trigger's settings, all of them texts.
    #[serde(default, deserialize_with = "texts")]
    pub metadata: BTreeMap<String, String>,
    /// How the HPA reads the metric; KEDA's default is `AverageValue`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric_type: Option<String>,
}

/// KEDA takes only strings here; unquoted numbers and booleans are the usual slip, so the message says what to do.
fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    let values = BTreeMap::<String, Value>::deserialize(deserializer)?;
    values
        .into_iter()
        .map(|(key, value)| text(&key, value).map(|text| (key, text)))
        .collect()
}

fn text<E: Error>(key: &str, value: Value) -> Result<String, E> {
    match value {
        Value::String(text) => Ok(text),
        Value::Null => Err(E::custom(format!("{key} must be a string, but it has no value"))),
        Value::Array(_) | Value::Object(_) => Err(E::custom(format!(
            "{key} must be a string; a list or map can be given as text behind `|`"
        ))),
        other @ (Value::Bool(_) | Value::Number(_)) => {
            Err(E::custom(format!("{key} must be a string; quote it: \"{other}\"")))
        }
    }
}
