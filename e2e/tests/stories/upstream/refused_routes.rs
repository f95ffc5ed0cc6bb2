//! Routes that cannot mean anything are refused by the API server; one that only cannot work yet says why in its status.

use anyhow::{Result, ensure};
use keda_http_e2e::story::space::PATIENCE;
use keda_http_e2e::story::{Findings, Space, Story};
use keda_http_e2e::wait;

use super::CHAPTER;

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "refused_routes",
    says: "A route without a metric, or with port and portName, is refused; one without its Service says so in its status",
    alone: false,
    run: |space| Box::pin(run(space)),
};

async fn run(space: Space) -> Result<Findings> {
    let refused = [
        ("{service: api, port: 80}", "  scalingMetric: {}\n", "scaling"),
        ("{service: api, port: 80, portName: http}", "", "portName"),
    ];
    let rules = "[{hosts: [refused.test]}]";
    for (target, more, word) in refused {
        let answer = space.route_by("refused", target, rules, more).await;
        let answer = answer.err().map(|error| format!("{error:#}")).unwrap_or_default();
        ensure!(answer.contains(word), "{target} {more}: {answer:?}");
    }

    space.route_to("lost", "nowhere", "").await?;
    let routes = space.objects("http.keda.sh/v1beta1", "InterceptorRoute").await?;
    let message = wait::until("the route says nothing", PATIENCE, async || {
        let route = routes.get("lost").await.ok()?;
        let conditions = route.data["status"]["conditions"].as_array()?.clone();
        let ready = conditions.into_iter().find(|condition| condition["type"] == "Ready")?;
        (ready["status"] == "False").then(|| format!("{}: {}", ready["reason"], ready["message"]))
    })
    .await?;
    ensure!(message.contains("nowhere"), "{message}");
    Ok(Findings::new(message))
}
