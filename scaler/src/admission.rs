//! The mutating webhook: it converts `kedify-http` triggers of ScaledObjects, as they are created or updated, into
//! triggers that stock KEDA can use.
//!
//! It runs on every replica and has no side effects, so a dry run needs no special handling. Other objects are allowed
//! unchanged. An update that does not change the triggers is never refused, so that old objects can always be edited
//! and deleted.

pub mod certificates;
mod tls;

use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keda_http_kubernetes::conversion::{Conversion, convert};
use keda_http_kubernetes::resources::ScaledObject;
use kube::core::DynamicObject;
use kube::core::admission::{AdmissionRequest, AdmissionReview, Operation};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use certificates::Serving;
use tls::TlsListener;

const API_VERSION: &str = "admission.k8s.io/v1";
/// The largest request of an API server, in bytes.
const MAX_BODY: usize = 3 * 1024 * 1024;
/// How long calls may go on after the scaler began to stop.
const GRACE: Duration = Duration::from_secs(2);

type Request = AdmissionRequest<DynamicObject>;

/// Serves the webhook until `stop`.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    certificates: Serving,
    scaler_address: String,
    stop: CancellationToken,
) -> Result<()> {
    tracing::info!(address = %listener.local_addr()?, "admission webhook is listening");
    let listener = TlsListener::new(listener, certificates)?;
    let ending = stop.clone();
    let serving = axum::serve(listener, router(scaler_address)).with_graceful_shutdown(ending.cancelled_owned());
    let ended = async {
        stop.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        served = serving.into_future() => served.context("the port of the admission webhook"),
        () = ended => Ok(()),
    }
}

/// `POST /mutate`.
fn router(scaler_address: String) -> Router {
    Router::new()
        .route("/mutate", post(mutate))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(scaler_address)
}

async fn mutate(State(scaler_address): State<String>, body: Bytes) -> Response {
    match read(&body) {
        Ok(request) => decide(&request, &scaler_address).into_response(),
        Err(error) => {
            let text = format!("the body is not an AdmissionReview of {API_VERSION}: {error}\n");
            (StatusCode::BAD_REQUEST, text).into_response()
        }
    }
}

fn read(body: &[u8]) -> Result<Request, String> {
    let review: AdmissionReview<DynamicObject> = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let types = &review.types;
    if types.api_version != API_VERSION || types.kind != "AdmissionReview" {
        return Err(format!("it is a {} of {}", types.kind, types.api_version));
    }
    review.try_into().map_err(|_| "it has no request".to_owned())
}

fn decide(request: &Request, scaler_address: &str) -> Json<Value> {
    let Some(object) = stored_object(request) else {
        return allow(request);
    };
    let object: ScaledObject = match object.clone().try_parse() {
        Ok(object) => object,
        // KEDA's schema refuses the object.
        Err(error) => {
            tracing::debug!(%error, "cannot parse a ScaledObject; allowing it unchanged");
            return allow(request);
        }
    };
    match convert(&object, scaler_address) {
        Ok(conversion) => convert_answer(request, &conversion),
        Err(_) if object.metadata.deletion_timestamp.is_some() || keeps_triggers(request) => allow(request),
        Err(errors) => {
            let each: Vec<String> = errors.iter().map(ToString::to_string).collect();
            let message = format!("the kedify-http trigger is not valid: {}", each.join("; "));
            let status = json!({"code": 422, "reason": "Invalid", "message": message});
            review(&json!({"uid": request.uid, "allowed": false, "status": status}))
        }
    }
}

/// The ScaledObject that is about to be stored; `None` for other kinds, for deletions and for changes of the status
/// only.
fn stored_object(request: &Request) -> Option<&DynamicObject> {
    let ours = request.resource.group == "keda.sh" && request.resource.resource == "scaledobjects";
    let stored = matches!(request.operation, Operation::Create | Operation::Update)
        && request.sub_resource.as_deref().unwrap_or_default().is_empty();
    request.object.as_ref().filter(|_| ours && stored)
}

fn keeps_triggers(request: &Request) -> bool {
    let triggers = |object: &Option<DynamicObject>| object.as_ref()?.data.pointer("/spec/triggers").cloned();
    let old = triggers(&request.old_object);
    old.is_some() && old == triggers(&request.object)
}

fn allow(request: &Request) -> Json<Value> {
    review(&json!({"uid": request.uid, "allowed": true}))
}

fn convert_answer(request: &Request, conversion: &Conversion) -> Json<Value> {
    let mut response = json!({"uid": request.uid, "allowed": true});
    let patch = conversion.patch();
    if !patch.is_empty() {
        response["patchType"] = "JSONPatch".into();
        response["patch"] = STANDARD.encode(Value::from(patch).to_string()).into();
    }
    if !conversion.warnings.is_empty() {
        response["warnings"] = conversion.warnings.clone().into();
    }
    review(&response)
}

/// Not kube's `AdmissionResponse`, which writes the patch as an array of numbers where the API has a base64 text.
fn review(response: &Value) -> Json<Value> {
    Json(json!({"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": response}))
}

#[cfg(test)]
mod tests;
