//! A ScaledObject with two `kedify-http` triggers, each with its own Service, beside a trigger of another kind: a request by
//! either Service wakes the one Deployment.

use anyhow::{Result, ensure};
use keda_http_e2e::story::caller::get;
use keda_http_e2e::story::space::PATIENCE;
use keda_http_e2e::story::{Findings, Space, Story};

use super::CHAPTER;

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "several_triggers",
    says: "Two kedify-http triggers and a cron trigger in one ScaledObject: a request by either host wakes it",
    alone: false,
    run: |space| Box::pin(run(space)),
};

async fn run(space: Space) -> Result<Findings> {
    let api = space.app("api", 0, &[]).await?;
    let mut triggers = String::new();
    for name in ["public", "internal"] {
        space.selectorless(name).await?;
        let host = space.host(name);
        triggers.push_str(&format!(
            "    - type: kedify-http
      name: {name}
      metadata: {{hosts: {host}, service: {name}, fallbackService: api, port: '8080', trafficAutowire: service,
        scalingMetric: requestRate, targetValue: '100', granularity: 1s, window: 2s}}
"
        ));
    }
    triggers.push_str(
        "    - type: cron
      metadata: {timezone: UTC, start: 0 0 29 2 *, end: 1 0 29 2 *, desiredReplicas: '1'}
",
    );
    space.triggered("api", 0..=2, &triggers).await?;
    for name in ["public", "internal"] {
        space.wired(name).await?;
    }
    let mut findings = Findings::default();
    for name in ["public", "internal"] {
        api.asleep(PATIENCE).await?;
        let url = space.url(name, 8080).await?;
        let answer = get(&url, &space.host(name)).await?.expect(200)?;
        ensure!(answer.header("x-keda-http-cold-start") == Some("true"), "{answer:?}");
        findings = findings.and(format!("`{name}` after {:.2} s", answer.took.as_secs_f64()));
    }
    Ok(findings)
}
