//! The tutorial as it is written. The server goes to zero; the client is restarted, and its call is one trace: the client's span,
//! its calculation, the interceptor's span with the cold start in it, the call to the pod, and the server's spans.
//!
//! `SAVE_TRACE=directory` keeps the trace there, as Jaeger gives it and as a picture.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use keda_http_e2e::story::picture::picture;
use keda_http_e2e::story::traces::{Trace, in_jaeger};
use keda_http_e2e::story::{Findings, Space, Story};

use super::{CHAPTER, backends, deploy, restart_client, traced};

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "one_trace",
    says: "A cold start is one trace in Jaeger, from the client's span to the server's; the interceptor's span covers the wait",
    alone: true,
    run: |space| Box::pin(run(space)),
};

/// Who must be below whom.
pub const TREE: &[(&str, &str)] = &[
    ("inner client span", "/"),
    ("keda-http-interceptor", "/"),
    ("cold start", "keda-http-interceptor"),
    ("signal", "cold start"),
    ("wait for endpoint", "cold start"),
    ("HTTP GET", "keda-http-interceptor"),
    ("handling-request", "HTTP GET"),
    ("inner server span", "handling-request"),
];

async fn run(space: Space) -> Result<Findings> {
    let (query, otlp) = backends::jaeger(&space).await?;
    let names: Vec<&str> = TREE.iter().map(|(name, _)| *name).collect();
    let trace = traced(
        &space,
        &otlp,
        Box::pin(async {
            let server = deploy(&space, &otlp).await?;
            let since = restart_client(&space).await?;
            let trace = in_jaeger(&query, "http-call", &names, since).await?;
            ensure!(server.replicas().await? == 1, "the call has woken the server");
            Ok(trace)
        }),
    )
    .await?;
    if let Some(directory) = std::env::var_os("SAVE_TRACE")
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
    {
        let json = serde_json::to_string_pretty(&trace.raw)? + "\n";
        std::fs::write(directory.join("tracing-tutorial.json"), json)?;
        std::fs::write(directory.join("tracing-tutorial.svg"), picture(&trace))?;
    }
    whole(&trace)?;
    durations(&trace)
}

/// Fails unless every span is below the one it belongs to.
pub fn whole(trace: &Trace) -> Result<()> {
    ensure!(trace.span("/")?.parent.is_none(), "the client's span is the first");
    for (name, above) in TREE {
        let span = trace.span(name)?;
        let parent = trace
            .parent(span)
            .with_context(|| format!("{name} has no parent in the trace"))?;
        ensure!(
            parent.name.eq_ignore_ascii_case(above),
            "{name} is below {}, not {above}",
            parent.name
        );
        // The server answers, and only then ends its spans.
        ensure!(
            parent.service == "http-call" || span.service == "http-call" || span.within(parent),
            "{name} outlasts {above}"
        );
    }
    Ok(())
}

fn durations(trace: &Trace) -> Result<Findings> {
    let milliseconds = Duration::from_millis;
    let took = |name| trace.span(name).map(|span| span.duration);
    let (held, call) = (took("cold start")?, took("HTTP GET")?);
    let all = took("keda-http-interceptor")?;
    ensure!(
        all >= held + call - milliseconds(5),
        "{all:?} is less than the hold {held:?} and the call {call:?}"
    );
    ensure!(held >= milliseconds(300), "a pod cannot be there after {held:?}");
    ensure!(took("wait for endpoint")? <= held, "the wait is part of the hold");
    ensure!(
        (milliseconds(500)..milliseconds(900)).contains(&took("inner client span")?),
        "the client's calculation"
    );
    ensure!(
        (milliseconds(800)..milliseconds(1200)).contains(&took("inner server span")?),
        "the server's calculation"
    );
    ensure!(
        took("/")? >= all + milliseconds(500),
        "the client's span covers all of it"
    );
    let seconds = |duration: Duration| format!("{:.2} s", duration.as_secs_f64());
    Ok(Findings::new(format!("{} spans", trace.spans.len()))
        .and(format!("client {}", seconds(took("/")?)))
        .and(format!("`keda-http-interceptor` {}", seconds(all)))
        .and(format!("`cold start` {}", seconds(held)))
        .and(format!("`signal` {} µs", took("signal")?.as_micros()))
        .and(format!("`HTTP GET` {}", seconds(call))))
}
