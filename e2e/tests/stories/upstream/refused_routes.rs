//! Routes that cannot mean anything are refused by the API server; one that only cannot work yet says why in its status.

use anyhow::{Result, ensure};
use keda_http_e2e::story::space::PATIENCE;
use keda_http_e2e::story::{Space, Story, Told};
use keda_http_e2e::wait;

use super::CHAPTER;

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "refused_routes",
    says: "A route without a metric, or with port and portName, is refused; one without its Service says so in its status",
    alone: false,
    tell: |space| Box::pin(tell(space)),
};

async fn tell(space: Space) -> Result<Told> {
    let refused = [
        ("target: {service: api, port: 80}", "scalingMetric: {}", "scaling"),
        (
            "target: {service: api, port: 80, portName: http}",
            "scalingMetric: {concurrency: {targetValue: 1}}",
            "portName",
        ),
    ];
    for (target, metric, word) in refused {
        let text = format!(
            "apiVersion: http.keda.sh/v1beta1\nkind: InterceptorRoute\nmetadata: {{name: refused}}\nspec: \
             {{{target}, rules: [{{hosts: [refused.test]}}], {metric}}}\n"
        );
        let answer = space
            .apply(&text)
            .await
            .err()
            .map(|error| format!("{error:#}"))
            .unwrap_or_default();
        ensure!(answer.contains(word), "{metric} with {target}: {answer:?}");
    }

    space
        .apply(
            "apiVersion: http.keda.sh/v1beta1
kind: InterceptorRoute
metadata: {name: lost}
spec: {target: {service: nowhere, port: 80}, rules: [{hosts: [lost.test]}], scalingMetric: {concurrency: {targetValue: 1}}}
",
        )
        .await?;
    let message = wait::until("the route says nothing", PATIENCE, async || {
        let route = space
            .object("http.keda.sh/v1beta1", "InterceptorRoute", "lost")
            .await
            .ok()?;
        let conditions = route["status"]["conditions"].as_array()?.clone();
        let ready = conditions.into_iter().find(|condition| condition["type"] == "Ready")?;
        (ready["status"] == "False").then(|| format!("{}: {}", ready["reason"], ready["message"]))
    })
    .await?;
    ensure!(message.contains("nowhere"), "{message}");
    Ok(Told::that(message))
}
