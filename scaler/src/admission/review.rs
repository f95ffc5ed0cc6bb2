//! `AdmissionReview` of `admission.k8s.io/v1`, as far as it is needed.

use axum::Json;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

const API_VERSION: &str = "admission.k8s.io/v1";

/// What the API server sends.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AdmissionReview {
    api_version: String,
    kind: String,
    request: AdmissionRequest,
}

/// The object, and what is about to happen to it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AdmissionRequest {
    uid: String,
    operation: String,
    #[serde(default)]
    sub_resource: String,
    resource: Resource,
    #[serde(default)]
    object: Value,
    #[serde(default)]
    old_object: Value,
}

#[derive(Debug, Deserialize)]
struct Resource {
    group: String,
    resource: String,
}

/// What is answered.
#[derive(Debug, PartialEq)]
pub struct Answer {
    refusal: Option<String>,
    patch: Vec<Value>,
    warnings: Vec<String>,
}

impl AdmissionReview {
    /// Reads a review.
    pub fn read(body: &[u8]) -> Result<AdmissionRequest, String> {
        let review: Self = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        if review.api_version != API_VERSION || review.kind != "AdmissionReview" {
            return Err(format!("it is {} of {}", review.kind, review.api_version));
        }
        Ok(review.request)
    }
}

impl AdmissionRequest {
    /// The ScaledObject that is about to be stored; `None` when it is something else, or is deleted, or only its status
    /// changes.
    pub fn scaled_object(&self) -> Option<&Value> {
        let ours = self.resource.group == "keda.sh" && self.resource.resource == "scaledobjects";
        let stored = matches!(self.operation.as_str(), "CREATE" | "UPDATE") && self.sub_resource.is_empty();
        (ours && stored).then_some(&self.object)
    }

    /// Whether the triggers are what they were.
    pub fn keeps_triggers(&self) -> bool {
        const TRIGGERS: &str = "/spec/triggers";
        let old = self.old_object.pointer(TRIGGERS);
        old.is_some() && old == self.object.pointer(TRIGGERS)
    }

    /// The answer as the API server expects it.
    pub fn answer(&self, answer: &Answer) -> Response {
        let mut response = json!({"uid": self.uid, "allowed": answer.refusal.is_none()});
        if let Some(refusal) = &answer.refusal {
            response["status"] = json!({"code": 422, "reason": "Invalid", "message": refusal});
        }
        if !answer.patch.is_empty() {
            response["patchType"] = "JSONPatch".into();
            response["patch"] = STANDARD.encode(Value::from(answer.patch.clone()).to_string()).into();
        }
        if !answer.warnings.is_empty() {
            response["warnings"] = answer.warnings.clone().into();
        }
        Json(json!({"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": response})).into_response()
    }
}

impl Answer {
    /// As it is.
    pub fn allowed() -> Self {
        Self::patched(Vec::new(), Vec::new())
    }

    /// With a patch, when it is not empty.
    pub fn patched(patch: Vec<Value>, warnings: Vec<String>) -> Self {
        Self {
            refusal: None,
            patch,
            warnings,
        }
    }

    /// Not at all.
    pub fn refused(reason: &str) -> Self {
        Self {
            refusal: Some(reason.to_owned()),
            patch: Vec::new(),
            warnings: Vec::new(),
        }
    }
}
