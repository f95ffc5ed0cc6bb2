//! The ScaledObject that the operator makes for an HTTPScaledObject.

use crate::conversion::{EXTERNAL_PUSH, SCALER_ADDRESS_KEY};
use crate::resources::{HttpScaledObject, PortSelector};
use kube::ResourceExt;
use serde_json::{Map, Value, json};

/// With this annotation on an HTTPScaledObject, and the value `true`, the operator makes none.
pub const SKIP_CREATION: &str = "httpscaledobject.keda.sh/skip-scaledobject-creation";

/// Seconds between two of KEDA's polls; the Go operator's.
const POLLING_INTERVAL: i32 = 15;
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The whole object, as a server-side apply takes it. `scaler_address` is the `host:port` that KEDA calls.
///
/// # Errors
/// Names the field that is not valid or missing.
pub fn scaled_object(http: &HttpScaledObject, scaler_address: &str) -> Result<Value, String> {
    let spec = &http.spec;
    let both = spec
        .scaling_metric
        .as_ref()
        .is_some_and(|metric| metric.concurrency.is_some() && metric.request_rate.is_some());
    if both {
        return Err("spec.scalingMetric: concurrency and requestRate exclude each other; give one of them".to_owned());
    }
    let target = &spec.scale_target_ref;
    let name = target
        .name
        .as_ref()
        .ok_or("spec.scaleTargetRef.name is missing: it must name the workload")?;
    let replicas = spec.replicas.clone().unwrap_or_default();
    let mut desired = json!({
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": metadata(http),
        "spec": {
            "scaleTargetRef": {"name": name},
            "pollingInterval": POLLING_INTERVAL,
            "minReplicaCount": replicas.min.unwrap_or(0),
            "maxReplicaCount": replicas.max.unwrap_or(100),
            "advanced": {"restoreToOriginalReplicaCount": true},
            "triggers": [{
                "type": EXTERNAL_PUSH,
                "metadata": {SCALER_ADDRESS_KEY: scaler_address, "httpScaledObject": http.name_any()},
            }],
        },
    });
    for (field, value) in [
        ("/spec/scaleTargetRef/apiVersion", json!(target.api_version)),
        ("/spec/scaleTargetRef/kind", json!(target.kind)),
        ("/spec/cooldownPeriod", json!(spec.scaledown_period)),
        ("/spec/initialCooldownPeriod", json!(spec.initial_cooldown_period)),
    ] {
        set(&mut desired, field, value);
    }
    Ok(desired)
}

fn metadata(http: &HttpScaledObject) -> Value {
    let annotations: Map<String, Value> = http
        .annotations()
        .iter()
        .filter(|(name, _)| *name != LAST_APPLIED)
        .map(|(name, value)| (name.clone(), json!(value)))
        .collect();
    json!({
        "name": http.name_any(),
        "namespace": http.namespace(),
        "labels": http.labels(),
        "annotations": annotations,
        "ownerReferences": [{
            "apiVersion": "http.keda.sh/v1alpha1",
            "kind": "HTTPScaledObject",
            "name": http.name_any(),
            "uid": http.metadata.uid,
            "controller": true,
            "blockOwnerDeletion": true,
        }],
    })
}

/// What is not given is not ours to set.
fn set(object: &mut Value, field: &str, value: Value) {
    if let (Some((parent, name)), false) = (field.rsplit_once('/'), value.is_null())
        && let Some(parent) = object.pointer_mut(parent)
    {
        parent[name] = value;
    }
}

/// `apiVersion/kind/name`, as the Go operator writes it into the status.
pub fn target_workload(http: &HttpScaledObject) -> String {
    let target = &http.spec.scale_target_ref;
    let part = |part: &Option<String>, default: &str| part.clone().unwrap_or_else(|| default.to_owned());
    format!(
        "{}/{}/{}",
        part(&target.api_version, "apps/v1"),
        part(&target.kind, "Deployment"),
        part(&target.name, "")
    )
}

/// `service:port`, as the Go operator writes it into the status.
pub fn target_service(http: &HttpScaledObject) -> String {
    let target = &http.spec.scale_target_ref;
    let PortSelector { port, port_name } = &target.port;
    let port = port.map(|port| port.to_string()).or_else(|| port_name.clone());
    format!("{}:{}", target.service, port.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(change: impl FnOnce(&mut Value)) -> HttpScaledObject {
        let mut object = json!({
            "apiVersion": "http.keda.sh/v1alpha1", "kind": "HTTPScaledObject",
            "metadata": {"name": "api", "namespace": "shop", "uid": "u1", "labels": {"team": "a"},
                "annotations": {"note": "x", LAST_APPLIED: "{}"}},
            "spec": {"hosts": ["api.test"], "scaledownPeriod": 7, "replicas": {"max": 3},
                "scaleTargetRef": {"name": "api", "kind": "Deployment", "apiVersion": "apps/v1", "service": "api", "port": 80}},
        });
        change(&mut object);
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn the_scaled_object_is_that_of_the_go_operator() {
        let desired = scaled_object(&http(|_| {}), "scaler.keda:9090").unwrap();
        assert_eq!(
            desired["spec"],
            json!({
                "scaleTargetRef": {"name": "api", "kind": "Deployment", "apiVersion": "apps/v1"},
                "pollingInterval": 15, "cooldownPeriod": 7, "minReplicaCount": 0, "maxReplicaCount": 3,
                "advanced": {"restoreToOriginalReplicaCount": true},
                "triggers": [{"type": "external-push", "metadata": {"scalerAddress": "scaler.keda:9090", "httpScaledObject": "api"}}],
            })
        );
        assert_eq!(desired["metadata"]["annotations"], json!({"note": "x"}));
        assert_eq!(desired["metadata"]["ownerReferences"][0]["uid"], "u1");
    }

    #[test]
    fn both_metrics_and_a_missing_workload_are_refused() {
        let both = http(|object| {
            object["spec"]["scalingMetric"] =
                json!({"concurrency": {"targetValue": 1}, "requestRate": {"targetValue": 1}});
        });
        assert!(scaled_object(&both, "s").unwrap_err().contains("exclude each other"));
        let nameless = http(|object| object["spec"]["scaleTargetRef"]["name"] = Value::Null);
        assert!(
            scaled_object(&nameless, "s")
                .unwrap_err()
                .contains("scaleTargetRef.name")
        );
    }

    #[test]
    fn the_status_names_workload_and_service() {
        assert_eq!(target_workload(&http(|_| {})), "apps/v1/Deployment/api");
        assert_eq!(target_service(&http(|_| {})), "api:80");
    }
}
