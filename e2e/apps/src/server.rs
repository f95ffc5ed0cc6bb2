//! The server: answers every path, below the caller's span, after a calculation of 800 ms.

mod echo;

use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{HOST, HeaderValue};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use keda_http_runtime::env::{EnvError, Environment};
use opentelemetry::trace::SpanKind;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::spans::{Scope, Spans};

/// What `--help` prints.
pub const HELP: &str = "\
otel-tracing-server: the server of the tracing tutorial. Settings come from the environment:

  PORT                                port it listens on (8080)
  STARTUP_DELAY                       seconds until it listens (0)
  RESPONSE_DELAY                      seconds that the inner span of each request takes (0.8)
  ERROR_RATE                          share of the requests that fail, 0 to 1 (0)
  ERROR_RESP_CODE                     their status (500)
  OTEL_EXPORTER_OTLP_TRACES_ENDPOINT  where spans go by OTLP/gRPC (without it they are printed)

/healthz answers 200 without delay and without spans; a WebSocket gets its messages back; a gRPC call of any method gets
its messages back, one by one; everything else is answered with `Hello KEDA!`. The header `x-pod` has HOSTNAME.
";

/// When the request was received, in microseconds since 1970: for whoever measures on the same machine.
const RECEIVED: &str = "x-received-micros";
/// Which pod has answered, where `HOSTNAME` names it, as it does in Kubernetes.
const POD: &str = "x-pod";

/// Settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `PORT`
    pub port: u16,
    /// `STARTUP_DELAY`
    pub startup_delay: Duration,
    /// `RESPONSE_DELAY`
    pub response_delay: Duration,
    /// `ERROR_RATE`
    pub error_rate: f64,
    /// `ERROR_RESP_CODE`
    pub error_status: StatusCode,
    /// `HOSTNAME`
    pub pod: Option<HeaderValue>,
}

impl Settings {
    /// Reads the environment.
    ///
    /// # Errors
    /// When a variable cannot be used.
    pub fn read(environment: &Environment) -> Result<Self, EnvError> {
        Ok(Self {
            port: environment.port("PORT")?.unwrap_or(8080),
            startup_delay: seconds(environment, "STARTUP_DELAY")?.unwrap_or_default(),
            response_delay: seconds(environment, "RESPONSE_DELAY")?.unwrap_or(Duration::from_millis(800)),
            error_rate: environment
                .parsed("ERROR_RATE", "a share, 0 to 1", |text| {
                    text.parse().ok().filter(|rate| (0.0..=1.0).contains(rate)).ok_or(())
                })?
                .unwrap_or(0.0),
            error_status: environment
                .parsed("ERROR_RESP_CODE", "a status, 100 to 999", str::parse)?
                .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            pod: environment.parsed("HOSTNAME", "the name of a pod", HeaderValue::from_str)?,
        })
    }
}

fn seconds(environment: &Environment, name: &str) -> Result<Option<Duration>, EnvError> {
    environment.parsed(name, "a number of seconds, such as 0.3 or 5", |text| {
        let seconds = text.parse().map_err(|_| ())?;
        Duration::try_from_secs_f64(seconds).map_err(|_| ())
    })
}

struct Server {
    settings: Settings,
    spans: Spans,
    /// Requests so far; which of them fail is evenly spread, not random.
    requests: AtomicU64,
}

/// Listens after the startup delay, until `shutdown`.
///
/// # Errors
/// When the port cannot be bound.
pub async fn run(settings: Settings, spans: Spans, shutdown: CancellationToken) -> Result<()> {
    let delay = tokio::time::sleep(settings.startup_delay);
    if shutdown.run_until_cancelled(delay).await.is_none() {
        return Ok(());
    }
    let listener = listen(settings.port).await?;
    eprintln!("listening on {}", listener.local_addr()?);
    serve(listener, settings, spans, shutdown).await
}

/// Serves what a listener accepts, until `shutdown`.
///
/// # Errors
/// When the listener fails.
pub async fn serve(listener: TcpListener, settings: Settings, spans: Spans, shutdown: CancellationToken) -> Result<()> {
    let server = Arc::new(Server {
        settings,
        spans,
        requests: AtomicU64::new(0),
    });
    let router = Router::new()
        .route("/healthz", get(async || "OK\n"))
        .fallback(answer)
        .with_state(server);
    axum::serve(listener, router)
        .with_graceful_shutdown(shutdown.cancelled_owned())
        .await?;
    Ok(())
}

async fn listen(port: u16) -> Result<TcpListener> {
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    match TcpListener::bind(any).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind(("0.0.0.0", port))
            .await
            .with_context(|| format!("port {port} cannot be bound")),
    }
}

async fn answer(
    State(server): State<Arc<Server>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    request: Request,
) -> Response {
    let received = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut response = match upgrade {
        Ok(upgrade) => upgrade.on_upgrade(echo::web_socket),
        Err(_) if echo::is_grpc(request.headers()) => echo::grpc(request.into_body()),
        Err(_) => handle(&server, &request.into_parts().0).await,
    };
    let headers = response.headers_mut();
    headers.insert(RECEIVED, HeaderValue::from(received.as_micros() as u64));
    if let Some(pod) = &server.settings.pod {
        headers.insert(POD, pod.clone());
    }
    response
}

async fn handle(server: &Server, request: &Parts) -> Response {
    let mut span = server
        .spans
        .below_caller("handling-request", SpanKind::Server, &request.headers);
    describe(&mut span, request);
    span.event("Start Processing", &[]);
    let delay = server.settings.response_delay;
    server.spans.calculate("inner server span", &span, delay).await;
    span.event("Finish Processing", &[]);
    let status = server.status();
    span.set("http.response.status_code", i64::from(status.as_u16()));
    if status.is_success() {
        (status, "Hello KEDA!\n").into_response()
    } else {
        span.fail(format!("HTTP Code: {}", status.as_u16()));
        (status, "failed on purpose\n").into_response()
    }
}

fn describe(span: &mut Scope, request: &Parts) {
    let host = request.headers.get(HOST).and_then(|host| host.to_str().ok());
    span.set("http.method", request.method.to_string());
    span.set("http.scheme", "http");
    span.set("http.host", host.unwrap_or_default().to_owned());
    span.set("http.target", request.uri.path().to_owned());
}

impl Server {
    /// The status of the next answer: of each hundred requests the rate's share fails.
    fn status(&self) -> StatusCode {
        let number = self.requests.fetch_add(1, Ordering::Relaxed) % 100;
        let (before, after) = (
            share(number, self.settings.error_rate),
            share(number + 1, self.settings.error_rate),
        );
        if after > before {
            self.settings.error_status
        } else {
            StatusCode::OK
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "at most 100")]
fn share(number: u64, rate: f64) -> f64 {
    (number as f64 * rate + 1e-9).floor()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_of_requests_that_fail_is_the_one_asked_for() {
        for (rate, expected) in [("0", 0), ("0.25", 25), ("1", 100)] {
            let settings = Settings::read(&Environment::of([("ERROR_RATE", rate)])).unwrap();
            let server = Server {
                settings,
                spans: Spans::new(None),
                requests: AtomicU64::new(0),
            };
            let failed = (0..100).filter(|_| server.status() != StatusCode::OK).count();
            assert_eq!(failed, expected, "{rate}");
        }
    }

    #[test]
    fn settings_that_cannot_be_used_are_named() {
        for (name, value) in [
            ("ERROR_RATE", "2"),
            ("RESPONSE_DELAY", "-1"),
            ("PORT", "http"),
            ("ERROR_RESP_CODE", "x"),
        ] {
            let error = Settings::read(&Environment::of([(name, value)]))
                .unwrap_err()
                .to_string();
            assert!(error.contains(name) && error.contains(value), "{error}");
        }
    }
}
