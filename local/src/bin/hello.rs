//! `hello`: the app of the examples. It speaks HTTP/1.1, HTTP/2, gRPC and WebSocket on `PORT`, and can be slow.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::body::Body;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{any, get};
use keda_http_runtime::env::{EnvError, Environment};
use keda_http_runtime::process::{print, print_error};
use keda_http_runtime::telemetry::{LogConfig, Telemetry, Tracing, propagation};
use keda_http_runtime::{EXIT_USAGE, shutdown};
use opentelemetry::KeyValue;
use opentelemetry::trace::{Span as _, SpanBuilder, SpanKind, Tracer as _, TracerProvider as _};
use tokio::net::TcpListener;
use tokio::time::sleep;

const HELP: &str = "\
hello: the app of keda-http-local's examples. Settings come from the environment:

  PORT               required: the port it listens on
  STARTUP_DELAY_MS   how long it takes until it listens (0)
  RESPONSE_DELAY_MS  how long it takes to answer (0)
  HOSTNAME           the name in its greeting

/healthz answers 200 without delay, /echo returns the request's body, /ws is a WebSocket that returns each message, and
every other path returns a greeting. The gRPC service grpc.health.v1.Health answers SERVING.
Spans are exported by the variables OTEL_EXPORTER_OTLP_TRACES_*.
";

struct Settings {
    port: u16,
    startup_delay: Duration,
    response_delay: Duration,
    name: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    if std::env::args()
        .skip(1)
        .any(|argument| matches!(argument.as_str(), "-h" | "--help"))
    {
        return print(HELP);
    }
    let environment = Environment::process();
    let started = Settings::read(&environment).and_then(|settings| {
        Ok((
            settings,
            Telemetry::start("hello", &LogConfig::default(), &environment)?,
        ))
    });
    match started {
        Ok((settings, telemetry)) => match run(settings, &telemetry).await {
            Ok(()) => {
                telemetry.shutdown().await;
                ExitCode::SUCCESS
            }
            Err(error) => fail(&format!("{error:#}"), 1),
        },
        Err(error) => fail(&error.to_string(), EXIT_USAGE),
    }
}

fn fail(reason: &str, code: u8) -> ExitCode {
    print_error(&format!("hello: {reason}"));
    ExitCode::from(code)
}

impl Settings {
    fn read(environment: &Environment) -> Result<Self, EnvError> {
        let milliseconds = |name| Ok::<_, EnvError>(Duration::from_millis(environment.number(name)?.unwrap_or(0)));
        Ok(Self {
            port: environment
                .port("PORT")?
                .ok_or_else(|| EnvError::missing("PORT", "a port, 1 to 65535"))?,
            startup_delay: milliseconds("STARTUP_DELAY_MS")?,
            response_delay: milliseconds("RESPONSE_DELAY_MS")?,
            name: environment.get("HOSTNAME").unwrap_or_else(|| "nobody".to_owned()),
        })
    }
}

async fn run(settings: Settings, telemetry: &Telemetry) -> Result<()> {
    let shutdown = shutdown::on_signal()?;
    tokio::select! {
        () = sleep(settings.startup_delay) => {}
        () = shutdown.cancelled() => return Ok(()),
    }
    let listener = TcpListener::bind(("0.0.0.0", settings.port))
        .await
        .with_context(|| format!("cannot listen on port {}", settings.port))?;
    let app = router(&settings, telemetry.tracing()).merge(health().await);
    axum::serve(listener, app)
        .with_graceful_shutdown(shutdown.cancelled_owned())
        .await?;
    Ok(())
}

fn router(settings: &Settings, tracing: Option<Tracing>) -> Router {
    let greeting = format!("Hello from {}\n", settings.name);
    let delay = settings.response_delay;
    let greet = async move || {
        sleep(delay).await;
        greeting
    };
    let echo = async move |request: Request| {
        sleep(delay).await;
        Response::new(request.into_body())
    };
    let web_socket = async |upgrade: WebSocketUpgrade| upgrade.on_upgrade(echo_messages);
    let traced = Router::new()
        .route("/echo", any(echo))
        .route("/ws", any(web_socket))
        .fallback(greet)
        .layer(from_fn_with_state(tracing, trace));
    Router::new()
        .route("/healthz", get(async || "OK\n"))
        .fallback_service(traced)
}

async fn echo_messages(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        let is_data = matches!(message, Message::Text(_) | Message::Binary(_));
        if is_data && socket.send(message).await.is_err() {
            return;
        }
    }
}

/// The gRPC health service, so that any gRPC client has something to call.
async fn health() -> Router {
    let (reporter, service) = tonic_health::server::health_reporter();
    reporter
        .set_service_status("", tonic_health::ServingStatus::Serving)
        .await;
    Router::new().route_service("/grpc.health.v1.Health/{method}", service)
}

/// The server span of a request, below the caller's.
async fn trace(State(tracing): State<Option<Tracing>>, request: Request, next: Next) -> Response<Body> {
    let Some(tracing) = tracing else {
        return next.run(request).await;
    };
    let context = propagation::extract(request.headers(), tracing.propagation).context();
    let route = if request.uri().path() == "/echo" { "/echo" } else { "/" };
    let builder = SpanBuilder::from_name(format!("{} {route}", request.method())).with_kind(SpanKind::Server);
    let mut span = tracing.provider.tracer("hello").build_with_context(builder, &context);
    span.set_attribute(KeyValue::new("http.request.method", request.method().to_string()));
    span.set_attribute(KeyValue::new("url.path", request.uri().path().to_owned()));
    let response = next.run(request).await;
    span.set_attribute(KeyValue::new(
        "http.response.status_code",
        i64::from(response.status().as_u16()),
    ));
    span.end();
    response
}
