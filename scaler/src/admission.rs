//! The mutating webhook: `kedify-http` triggers of ScaledObjects become what stock KEDA can use, on their way in.
//!
//! It runs on every replica and has no side effects, so a dry run needs nothing special. What is not ours is let through
//! untouched; an object whose triggers an update does not change is not judged again, so that old objects can always be
//! edited and deleted.

pub mod certificates;
mod review;
mod tls;

use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use keda_http_kubernetes::conversion::{Conversion, convert};
use keda_http_kubernetes::fields::FieldError;
use keda_http_kubernetes::resources::ScaledObject;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::admission::certificates::Serving;
use review::{AdmissionRequest, AdmissionReview, Answer};
pub use tls::TlsListener;

/// What an API server sends at most.
const LIMIT: usize = 3 * 1024 * 1024;
/// Calls that are being answered when the scaler stops are finished, but not waited for longer.
const GRACE: Duration = Duration::from_secs(2);

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
    info!(address = %listener.local_addr()?, "admission listens");
    let listener = TlsListener::new(listener, certificates)?;
    let ending = stop.clone();
    let serving = axum::serve(listener, router(scaler_address)).with_graceful_shutdown(ending.cancelled_owned());
    let ended = async {
        stop.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        served = serving.into_future() => served.context("the port of admission"),
        () = ended => Ok(()),
    }
}

/// `POST /mutate`.
pub fn router(scaler_address: String) -> Router {
    Router::new()
        .route("/mutate", post(mutate))
        .layer(DefaultBodyLimit::max(LIMIT))
        .with_state(scaler_address)
}

async fn mutate(State(scaler_address): State<String>, body: Bytes) -> Response {
    match AdmissionReview::read(&body) {
        Ok(request) => request.answer(&decide(&request, &scaler_address)).into_response(),
        Err(error) => (
            StatusCode::BAD_REQUEST,
            format!("no AdmissionReview of admission.k8s.io/v1: {error}\n"),
        )
            .into_response(),
    }
}

/// What is to be done with an object.
fn decide(request: &AdmissionRequest, scaler_address: &str) -> Answer {
    let Some(object) = request.scaled_object() else {
        return Answer::allowed();
    };
    let object: ScaledObject = match serde_json::from_value(object.clone()) {
        Ok(object) => object,
        // Its schema is KEDA's to check.
        Err(error) => {
            debug!(%error, "a ScaledObject that is not understood is let through");
            return Answer::allowed();
        }
    };
    match convert(&object, scaler_address) {
        Ok(conversion) => accept(&conversion),
        Err(_) if object.metadata.deletion_timestamp.is_some() || request.keeps_triggers() => Answer::allowed(),
        Err(errors) => Answer::refused(&refusal(&errors)),
    }
}

fn accept(conversion: &Conversion) -> Answer {
    Answer::patched(conversion.patch(), conversion.warnings.clone())
}

/// Every slip in one message: a user mends them together.
fn refusal(errors: &[FieldError]) -> String {
    let each: Vec<String> = errors.iter().map(ToString::to_string).collect();
    format!("the kedify-http trigger cannot be used: {}", each.join("; "))
}

#[cfg(test)]
mod tests;
