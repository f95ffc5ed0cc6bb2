//! The client: calls the server again and again, each time as a new trace.

use std::time::Duration;

use anyhow::Result;
use http::header::HOST;
use http::{HeaderMap, HeaderValue};
use keda_http_runtime::env::{EnvError, Environment};
use opentelemetry::trace::SpanKind;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::spans::{Scope, Spans};

/// What `--help` prints.
pub const HELP: &str = "\
otel-tracing-client: the client of the tracing tutorial. Settings come from the environment:

  SERVER                              host:port that is called (localhost:8080)
  HOST_HEADER                         the Host it names (otel-tracing-server)
  SLEEP_MS                            from the end of a call to the next one (5000)
  OTEL_EXPORTER_OTLP_TRACES_ENDPOINT  where spans go by OTLP/gRPC (without it they are printed)

It calls once at the start and prints a line for each answer.
";

/// What the client works at before it calls.
const CALCULATION: Duration = Duration::from_millis(500);

/// Settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `SERVER`
    pub server: String,
    /// `HOST_HEADER`
    pub host: HeaderValue,
    /// `SLEEP_MS`
    pub pause: Duration,
}

impl Settings {
    /// Reads the environment.
    ///
    /// # Errors
    /// When a variable cannot be used.
    pub fn read(environment: &Environment) -> Result<Self, EnvError> {
        let host = environment.parsed("HOST_HEADER", "a host", HeaderValue::from_str)?;
        Ok(Self {
            server: environment.get("SERVER").unwrap_or_else(|| "localhost:8080".to_owned()),
            host: host.unwrap_or(HeaderValue::from_static("otel-tracing-server")),
            pause: Duration::from_millis(environment.number("SLEEP_MS")?.unwrap_or(5000)),
        })
    }
}

/// Calls until `shutdown`. A call that fails is logged, and the next one is made all the same.
///
/// # Errors
/// When no client can be made.
pub async fn run(settings: Settings, spans: Spans, shutdown: CancellationToken) -> Result<()> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let calling = async {
        loop {
            let started = Instant::now();
            match call(&client, &settings, &spans).await {
                Ok(status) => eprintln!("{status} after {} ms", started.elapsed().as_millis()),
                Err(error) => eprintln!("failed after {} ms: {error}", started.elapsed().as_millis()),
            }
            tokio::time::sleep(settings.pause).await;
        }
    };
    shutdown.run_until_cancelled(calling).await;
    Ok(())
}

/// One trace: the calculation, and the call.
///
/// # Errors
/// When nobody answers.
pub async fn call(client: &reqwest::Client, settings: &Settings, spans: &Spans) -> Result<u16, reqwest::Error> {
    let mut span = spans.root("/", SpanKind::Client);
    let url = format!("http://{}/", settings.server);
    span.set("http.request.method", "GET");
    span.set("component", "http-call");
    span.set("url.full", url.clone());
    spans.calculate("inner client span", &span, CALCULATION).await;
    let mut headers = HeaderMap::new();
    headers.insert(HOST, settings.host.clone());
    spans.inject(&span, &mut headers);
    let answered = client.get(url).headers(headers).send().await;
    conclude(&mut span, answered.as_ref().map(reqwest::Response::status));
    let response = answered?;
    let status = response.status().as_u16();
    response.bytes().await?;
    Ok(status)
}

fn conclude(span: &mut Scope, status: Result<http::StatusCode, &reqwest::Error>) {
    match status {
        Ok(status) => {
            span.set("http.response.status_code", i64::from(status.as_u16()));
            if !status.is_success() {
                span.fail(format!("HTTP Code: {}", status.as_u16()));
            }
        }
        Err(error) => span.fail(error.to_string()),
    }
}
