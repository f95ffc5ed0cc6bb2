//! A placeholder is given at once while there is no pod, and wakes the app all the same. With a fallback Service beside it
//! the placeholder wins.

use std::time::Duration;

use anyhow::{Result, ensure};
use keda_http_e2e::story::space::PATIENCE;
use keda_http_e2e::story::{Findings, Space, Story};
use keda_http_e2e::wait;

use super::CHAPTER;

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "placeholder",
    says: "A placeholder response is sent at once, wakes the app, and takes precedence over a fallback Service",
    alone: false,
    run: |space| Box::pin(run(space)),
};

const PLACEHOLDER: &str = "  coldStart:
    placeholder:
      response: {statusCode: 418, body: '<p>soon', headers: {content-type: text/html, retry-after: '2'}}
";

async fn run(space: Space) -> Result<Findings> {
    let api = space.app("api", 0, &[]).await?;
    space.app("spare", 1, &[]).await?;
    let fallback = "    fallback: {service: {name: spare, port: 8080}}\n";
    space.route("api", &format!("{PLACEHOLDER}{fallback}")).await?;
    space.scaled("api", 1).await?;
    api.asleep(PATIENCE).await?;

    let soon = space.get("api", "/").await?.expect(418)?;
    ensure!(
        soon.body == "<p>soon" && soon.header("content-type") == Some("text/html"),
        "{soon:?}"
    );
    ensure!(
        soon.header("retry-after") == Some("2") && soon.took < Duration::from_secs(1),
        "{soon:?}"
    );

    let woken = wait::until("the app does not answer", PATIENCE, async || {
        let answer = space.get("api", "/").await.ok()?;
        (answer.status == 200).then_some(answer)
    })
    .await?;
    ensure!(woken.pod().starts_with("api-"), "{woken:?}");
    Ok(Findings::new(format!(
        "placeholder after {:.1} ms",
        soon.took.as_secs_f64() * 1000.0
    )))
}
