//! HTTPScaledObject, upstream's kind before InterceptorRoute: it makes its ScaledObject itself, unless an annotation says otherwise.

use anyhow::{Result, ensure};
use keda_http_e2e::story::space::PATIENCE;
use keda_http_e2e::story::{Findings, Space, Story};
use keda_http_e2e::wait;

use super::CHAPTER;

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "http_scaled_object",
    says: "An HTTPScaledObject gets its ScaledObject, wakes and sleeps; with skip-scaledobject-creation the user's own does it",
    alone: false,
    run: |space| Box::pin(run(space)),
};

async fn run(space: Space) -> Result<Findings> {
    let api = space.app("api", 0, &[]).await?;
    let own = space.app("own", 0, &[]).await?;
    for (name, annotation) in [
        ("api", ""),
        ("own", "httpscaledobject.keda.sh/skip-scaledobject-creation: 'true'"),
    ] {
        let host = space.host(name);
        space
            .apply(&format!(
                "apiVersion: http.keda.sh/v1alpha1
kind: HTTPScaledObject
metadata: {{name: {name}, annotations: {{{annotation}}}}}
spec:
  hosts: [{host}]
  scaleTargetRef: {{name: {name}, kind: Deployment, apiVersion: apps/v1, service: {name}, port: 8080}}
  replicas: {{min: 0, max: 1}}
  scaledownPeriod: 1
  scalingMetric: {{requestRate: {{targetValue: 100, window: 2s, granularity: 1s}}}}
"
            ))
            .await?;
        space.ready("http.keda.sh/v1alpha1", "HTTPScaledObject", name).await?;
    }
    space.ready("keda.sh/v1alpha1", "ScaledObject", "api").await?;
    let made = space.scaled_objects().get_opt("own").await?;
    ensure!(made.is_none(), "no ScaledObject is made where it is not wanted");
    // The one that a user makes who wants none made.
    space.pushed("own", 1, "httpScaledObject: own").await?;
    let mut findings = Findings::default();
    for (name, app) in [("api", &api), ("own", &own)] {
        app.asleep(PATIENCE).await?;
        let answer = space.get(name, "/").await?.expect(200)?;
        findings = findings.and(format!("`{name}` after {:.2} s", answer.took.as_secs_f64()));
        app.asleep(PATIENCE).await?;
    }
    space.remove("http.keda.sh/v1alpha1", "HTTPScaledObject", "api").await?;
    wait::until("its ScaledObject stays", PATIENCE, async || {
        let object = space.scaled_objects().get_opt("api").await.ok()?;
        object.is_none().then_some(())
    })
    .await?;
    Ok(findings.and("the ScaledObject goes with it"))
}
