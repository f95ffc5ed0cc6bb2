//! One cold and one warm request from a traced client, and checks of the answers, the replicas and the trace.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use http::HeaderMap;
use keda_http_runtime::env::Environment;
use keda_http_runtime::telemetry::{LogConfig, Telemetry, Tracing, propagation};
use opentelemetry::KeyValue;
use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanKind as OtelSpanKind, Status, Tracer as _, TracerProvider as _,
};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::app::Local;
use crate::keda::Plan;
use crate::kubelet;
use crate::launches::tracing_environment;
use crate::manifests::Example;
use crate::output::Output;
use crate::traces::{Span, SpanKind, WIDTH, waterfall};
use crate::workload::Workload;

const SERVICE: &str = "demo-client";
const SPAN: &str = "demo request";
const INTERCEPTOR: &str = "keda-http-interceptor";
/// How long a request may take, the cold start included.
const REQUEST_LIMIT: Duration = Duration::from_secs(120);
/// How long the app may take to be scaled to zero: more than the window, the cooldown and two polls of any example.
const ZERO_LIMIT: Duration = Duration::from_secs(180);
/// How long the spans of the cold request may take to arrive.
const TRACE_LIMIT: Duration = Duration::from_secs(10);

/// Runs the demo; `false` when a check failed, which is printed.
///
/// # Errors
/// When it cannot be run at all.
pub async fn run(local: &Local, output: &Output) -> Result<bool> {
    let example = local.examples().first().context("there is no route")?;
    let workload = local
        .workload()
        .context("the Service of the first route selects no Deployment")?;
    let mut status = local
        .kubelet()
        .status(&workload.key)
        .context("the Deployment does not run")?;
    timeout(ZERO_LIMIT, local.keda().settled())
        .await
        .context("KEDA did not poll the scaler in time")?;
    wait_for_zero(&mut status)
        .await
        .context("the app must be at zero before the demo")?;
    let before = status.borrow().history.len() - 1;

    let client = TracedClient::new(local, example)?;
    let cold = client.send().await?;
    let warm = client.send().await?;
    print_outcome(output, "cold", &cold);
    print_outcome(output, "warm", &warm);
    client.telemetry.shutdown().await;

    let app_is_traced = is_hello(workload);
    let is_complete = |spans: &[Span]| missing_spans(spans, &cold.span, app_is_traced).is_empty();
    let spans = local.traces().wait(&cold.trace, TRACE_LIMIT, is_complete).await;
    output.print(&format!("\n{}", waterfall::render(&spans, WIDTH, output.colour())));

    output.print(&waiting(local.plan()));
    let mut failures = missing_spans(&spans, &cold.span, app_is_traced);
    failures.extend(failed_request("cold", &cold));
    failures.extend(failed_request("warm", &warm));
    if let Err(error) = wait_for_zero(&mut status).await {
        failures.push(error.to_string());
    }
    failures.extend(unexpected_history(
        status.borrow().history.get(before..).unwrap_or_default(),
    ));
    print_result(&failures, output);
    Ok(failures.is_empty())
}

/// What the wait depends on: the scaler reports requests for the window, and KEDA waits for the cooldown after it.
fn waiting(plan: Option<&Plan>) -> String {
    let mut periods = Vec::new();
    if let Some(plan) = plan {
        periods.push(format!("cooldownPeriod {} s", plan.cooldown.as_secs()));
        let windows = plan
            .triggers
            .iter()
            .filter_map(|trigger| trigger.metadata.get("window"));
        periods.extend(windows.map(|window| format!("window {window}")));
    }
    periods.push(format!("limit {} s", ZERO_LIMIT.as_secs()));
    format!("waiting until the app is at zero again ({})", periods.join(", "))
}

/// Our own app exports spans; other apps may not.
fn is_hello(workload: &Workload) -> bool {
    workload
        .template
        .command
        .first()
        .is_some_and(|program| program == "hello")
}

async fn wait_for_zero(status: &mut watch::Receiver<kubelet::Status>) -> Result<()> {
    match timeout(ZERO_LIMIT, status.wait_for(|status| status.pods == 0)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) => bail!("the Deployment was deleted"),
        Err(_) => bail!("the app was not scaled to zero within {} s", ZERO_LIMIT.as_secs()),
    }
}

fn unexpected_history(history: &[usize]) -> Option<String> {
    let shown: Vec<String> = history.iter().map(ToString::to_string).collect();
    (history != [0, 1, 0]).then(|| format!("replicas went {}, not 0 -> 1 -> 0", shown.join(" -> ")))
}

fn failed_request(name: &str, outcome: &Outcome) -> Option<String> {
    match &outcome.status {
        Ok(200) => None,
        Ok(status) => Some(format!("the {name} request returned {status}, not 200")),
        Err(error) => Some(format!("the {name} request got no response: {error}")),
    }
}

fn print_outcome(output: &Output, name: &str, outcome: &Outcome) {
    let status = match &outcome.status {
        Ok(status) => status.to_string(),
        Err(error) => error.clone(),
    };
    let nanoseconds = u64::try_from(outcome.took.as_nanos()).unwrap_or(u64::MAX);
    output.print(&format!(
        "{name} request: {status} in {}",
        waterfall::duration(nanoseconds)
    ));
}

fn print_result(failures: &[String], output: &Output) {
    if failures.is_empty() {
        output.print("OK: both requests returned 200, replicas went 0 -> 1 -> 0, and the trace is complete");
    }
    for reason in failures {
        output.print(&format!("failed: {reason}"));
    }
}

/// A traced client of the interceptor.
struct TracedClient {
    http: reqwest::Client,
    telemetry: Telemetry,
    tracing: Tracing,
    url: String,
    host: Option<String>,
}

struct Outcome {
    status: Result<u16, String>,
    took: Duration,
    trace: String,
    span: String,
}

impl TracedClient {
    fn new(local: &Local, example: &Example) -> Result<Self> {
        let variables = tracing_environment(local.listening().otlp);
        let environment = Environment::of(variables.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let telemetry = Telemetry::start(SERVICE, &LogConfig::default(), &environment)?;
        Ok(Self {
            http: reqwest::Client::builder().no_proxy().timeout(REQUEST_LIMIT).build()?,
            tracing: telemetry.tracing().context("tracing of the demo client is off")?,
            telemetry,
            url: format!("http://127.0.0.1:{}{}", local.listening().proxy, example.path),
            host: example.host.clone(),
        })
    }

    async fn send(&self) -> Result<Outcome> {
        let tracer = self.tracing.provider.tracer(SERVICE);
        let attributes = vec![
            KeyValue::new("http.request.method", "GET"),
            KeyValue::new("url.full", self.url.clone()),
        ];
        let builder = SpanBuilder::from_name(SPAN)
            .with_kind(OtelSpanKind::Client)
            .with_attributes(attributes);
        let mut span = tracer.build_with_context(builder, &opentelemetry::Context::new());
        let mut headers = HeaderMap::new();
        if let Some(host) = &self.host {
            headers.insert(http::header::HOST, host.parse()?);
        }
        propagation::inject(span.span_context(), &mut headers, self.tracing.propagation);
        let started = Instant::now();
        let status = self.exchange(headers).await;
        match &status {
            Ok(status) => span.set_attribute(KeyValue::new("http.response.status_code", i64::from(*status))),
            Err(error) => span.set_status(Status::error(error.clone())),
        }
        let context = span.span_context().clone();
        span.end();
        Ok(Outcome {
            status,
            took: started.elapsed(),
            trace: context.trace_id().to_string(),
            span: context.span_id().to_string(),
        })
    }

    /// Status and body: the request has ended when its body has.
    async fn exchange(&self, headers: HeaderMap) -> Result<u16, String> {
        let response = self
            .http
            .get(&self.url)
            .headers(headers)
            .send()
            .await
            .map_err(|error| with_causes(&error))?;
        let status = response.status().as_u16();
        response.bytes().await.map_err(|error| with_causes(&error))?;
        Ok(status)
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// The spans that a complete trace of a cold start has, and this one does not.
fn missing_spans(spans: &[Span], client: &str, app_is_traced: bool) -> Vec<String> {
    let mut missing = Vec::new();
    if !spans
        .iter()
        .any(|span| span.id == client && span.kind == SpanKind::Client)
    {
        missing.push("the trace has no span of the client".to_owned());
    }
    let of = |parent: &str, kind, is_interceptor| {
        let parent = parent.to_owned();
        let found = move |span: &&Span| {
            span.parent == parent && span.kind == kind && (span.service == INTERCEPTOR) == is_interceptor
        };
        spans.iter().find(found)
    };
    let Some(server) = of(client, SpanKind::Server, true).filter(|span| span.name == INTERCEPTOR) else {
        missing.push(format!("the trace has no server span {INTERCEPTOR} below the client's"));
        return missing;
    };
    if of(&server.id, SpanKind::Internal, true).is_none() {
        missing.push("the trace has no span of the wait".to_owned());
    }
    match of(&server.id, SpanKind::Client, true) {
        None => missing.push("the trace has no span of the call to the app".to_owned()),
        Some(call) if app_is_traced && of(&call.id, SpanKind::Server, false).is_none() => {
            missing.push("the trace has no server span of the app below the call to it".to_owned());
        }
        Some(_) => {}
    }
    let is_lost = |span: &&Span| !span.parent.is_empty() && spans.iter().all(|other| other.id != span.parent);
    missing.extend(
        spans
            .iter()
            .filter(is_lost)
            .map(|span| format!("the parent of span {} is missing", span.name)),
    );
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(id: &str, parent: &str, service: &str, name: &str, kind: SpanKind) -> Span {
        Span {
            id: id.to_owned(),
            parent: parent.to_owned(),
            service: service.to_owned(),
            name: name.to_owned(),
            kind,
            ..Span::default()
        }
    }

    fn complete_trace() -> Vec<Span> {
        vec![
            span("1", "", SERVICE, SPAN, SpanKind::Client),
            span("2", "1", INTERCEPTOR, INTERCEPTOR, SpanKind::Server),
            span("3", "2", INTERCEPTOR, "cold start", SpanKind::Internal),
            span("4", "2", INTERCEPTOR, "HTTP GET", SpanKind::Client),
            span("5", "4", "hello", "GET /", SpanKind::Server),
        ]
    }

    #[test]
    fn a_complete_trace_misses_nothing() {
        assert_eq!(missing_spans(&complete_trace(), "1", true), [""; 0]);
    }

    #[test]
    fn every_missing_span_is_named() {
        let expected = [
            "span of the client",
            "server span keda-http",
            "span of the wait",
            "call to the app",
            "of the app",
        ];
        for (index, part) in expected.into_iter().enumerate() {
            let mut spans = complete_trace();
            spans.remove(index);
            let missing = missing_spans(&spans, "1", true);
            assert!(
                missing.iter().any(|reason| reason.contains(part)),
                "without span {index}: {missing:?}"
            );
        }
    }

    #[test]
    fn an_app_that_is_not_traced_is_not_a_failure_but_an_orphan_is() {
        let mut spans = complete_trace();
        spans.pop();
        assert_eq!(missing_spans(&spans, "1", false), [""; 0]);
        spans.push(span("6", "9", "other", "lost", SpanKind::Internal));
        assert_eq!(
            missing_spans(&spans, "1", false),
            ["the parent of span lost is missing"]
        );
    }

    #[test]
    fn replicas_go_up_by_one_and_back() {
        assert_eq!(unexpected_history(&[0, 1, 0]), None);
        assert_eq!(
            unexpected_history(&[0, 1, 2, 0]).unwrap(),
            "replicas went 0 -> 1 -> 2 -> 0, not 0 -> 1 -> 0"
        );
    }

    #[test]
    fn the_wait_for_zero_names_what_it_depends_on() {
        let yaml = include_str!("../../examples/web/web.yaml");
        let documents: Vec<serde_json::Value> = serde_saphyr::from_multiple(yaml).unwrap();
        let scaled = documents
            .iter()
            .find(|document| document["kind"] == "ScaledObject")
            .unwrap();
        let scaled = serde_json::from_value(scaled.clone()).unwrap();
        let plan = Plan::read(&scaled, "127.0.0.1:9").unwrap();
        assert_eq!(
            waiting(Some(&plan)),
            "waiting until the app is at zero again (cooldownPeriod 5 s, window 3s, limit 180 s)"
        );
    }
}
