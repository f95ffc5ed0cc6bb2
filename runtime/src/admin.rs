//! The admin router every program has: probes, settings and log level. Programs merge their own routes and gRPC
//! services into it.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::ListenerExt;
use axum::{Json, Router};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::process::Process;
use crate::readiness::Readiness;
use crate::settings::Table;
use crate::telemetry::LogLevel;

mod metrics;

pub use metrics::{metrics, registry};

/// How long [`serve`] waits for open exchanges once it shall stop.
pub const GRACE: Duration = Duration::from_secs(2);

/// `GET /livez` (200 while the process runs), `GET /readyz` (200 `OK` or 503, with `?verbose` or
/// `Accept: application/json` the whole report as JSON), `GET /config` (the settings in force), `GET` and `PUT
/// /log-level` (a `tracing` filter such as `info` or `info,keda_http_interceptor=debug`).
pub fn router(readiness: Readiness, process: &Process) -> Router {
    let (settings, log_level) = (process.settings.clone(), process.log_level.clone());
    Router::new()
        .route("/config", get(show_settings).with_state(settings))
        .route("/livez", get(async || StatusCode::OK))
        .route("/readyz", get(readyz).with_state(readiness))
        .route(
            "/log-level",
            get(log_level_now).put(set_log_level).with_state(log_level),
        )
}

/// gRPC services as a router to merge. Paths that nobody serves stay 404 (which gRPC clients take for
/// `UNIMPLEMENTED`): tonic's own answer is HTTP 200, and a probe with a typing error would pass.
pub fn grpc(services: tonic::service::Routes) -> Router {
    services.prepare().into_axum_router().reset_fallback()
}

/// Serves HTTP/1.1 and HTTP/2 in plain text (h2c) on one port until `shutdown`, then lets open exchanges end for
/// at most [`GRACE`]: gRPC streams may have no end of their own.
pub async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) {
    // Pushed messages are small and must leave at once.
    let listener = listener.tap_io(|socket| {
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "a connection of the admin port ended at once");
        }
    });
    let stopping = shutdown.clone().cancelled_owned();
    let server = axum::serve(listener, router).with_graceful_shutdown(stopping);
    let out_of_time = async {
        shutdown.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        _ = server.into_future() => {}
        () = out_of_time => tracing::debug!("connections of the admin port were still open"),
    }
}

async fn readyz(State(readiness): State<Readiness>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let report = readiness.report();
    let status = if report.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    if asks_for_report(query.as_deref(), &headers) {
        return (status, Json(report)).into_response();
    }
    let text = if report.ready { "OK" } else { "Service Unavailable" };
    (status, text).into_response()
}

fn asks_for_report(query: Option<&str>, headers: &HeaderMap) -> bool {
    let verbose = query
        .unwrap_or_default()
        .split('&')
        .any(|pair| pair.split('=').next() == Some("verbose"));
    let accepted = headers.get_all(header::ACCEPT).iter();
    verbose
        || accepted
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.contains("application/json"))
}

async fn show_settings(State(settings): State<Arc<Table>>) -> Json<Table> {
    Json(Table::clone(&settings))
}

async fn log_level_now(State(level): State<LogLevel>) -> String {
    level.get() + "\n"
}

async fn set_log_level(State(level): State<LogLevel>, filter: String) -> Response {
    match level.set(filter.trim()) {
        Ok(()) => log_level_now(State(level)).await.into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}
