//! A path that the interceptor answers itself while the app sleeps: probes and scrapers do not wake it. When the app is up,
//! it answers.

use std::time::Duration;

use anyhow::{Result, ensure};
use keda_http_e2e::story::space::PATIENCE;
use keda_http_e2e::story::{Findings, Space, Story};
use keda_http_e2e::wait;
use tokio::time::Instant;

use super::CHAPTER;

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "static_route",
    says: "A static route answers for an app at zero without waking it; once the app is up, the app answers",
    alone: false,
    run: |space| Box::pin(run(space)),
};

/// How often the path is asked for while the app sleeps.
const ASKED: usize = 100;
/// Together ten seconds: a wake takes one.
const APART: Duration = Duration::from_millis(100);

async fn run(space: Space) -> Result<Findings> {
    let api = space.app("api", 0, &[]).await?;
    space
        .route(
            "api",
            "  staticRoutes:
    - rules: [{paths: [{value: /probe}]}]
      response: {statusCode: 200, body: asleep, headers: {x-from: interceptor}}
",
        )
        .await?;
    space.scaled("api", 1).await?;
    api.asleep(PATIENCE).await?;

    let started = Instant::now();
    let mut pace = tokio::time::interval(APART);
    for _ in 0..ASKED {
        pace.tick().await;
        let answer = space.get("api", "/probe").await?.expect(200)?;
        ensure!(
            answer.body == "asleep" && answer.header("x-from") == Some("interceptor"),
            "{answer:?}"
        );
        ensure!(api.replicas().await? == 0, "the probe has woken the app");
    }
    let took = started.elapsed();

    space.get("api", "/").await?.expect(200)?;
    wait::until("the app does not answer", PATIENCE, async || {
        let answer = space.get("api", "/probe").await.ok()?;
        answer.pod().starts_with("api-").then_some(())
    })
    .await?;
    Ok(Findings::new(format!(
        "{ASKED} probes in {:.1} s, no scale-up",
        took.as_secs_f64()
    )))
}
