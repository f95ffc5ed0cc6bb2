//! The interceptor's own response header timeout counts for routes that have none, and for no others.

use anyhow::Result;
use keda_http_e2e::story::cluster::INTERCEPTOR;
use keda_http_e2e::story::{Findings, Space, Story};

use super::CHAPTER;

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "default_timeouts",
    says: "The interceptor's response header timeout applies to HTTPScaledObjects that set none of their own",
    alone: true,
    run: |space| Box::pin(run(space)),
};

async fn run(space: Space) -> Result<Findings> {
    space.app("slow", 1, &[("RESPONSE_DELAY", "1")]).await?;
    for (name, timeouts) in [("none", "{}"), ("own", "{responseHeader: 5s}")] {
        let host = space.host(name);
        space
            .apply(&format!(
                "apiVersion: http.keda.sh/v1alpha1
kind: HTTPScaledObject
metadata: {{name: {name}, annotations: {{httpscaledobject.keda.sh/skip-scaledobject-creation: 'true'}}}}
spec:
  hosts: [{host}]
  scaleTargetRef: {{name: slow, kind: Deployment, apiVersion: apps/v1, service: slow, port: 8080}}
  timeouts: {timeouts}
"
            ))
            .await?;
        space.ready("http.keda.sh/v1alpha1", "HTTPScaledObject", name).await?;
    }
    space.get("none", "/").await?.expect(200)?;
    let findings = async {
        let (none, own) = (space.get("none", "/").await?, space.get("own", "/").await?);
        let (none, own) = (none.expect(504)?, own.expect(200)?);
        Ok(Findings::new(format!(
            "with 300 ms: 504 after {} ms; with its own 5 s: 200 after {} ms",
            none.took.as_millis(),
            own.took.as_millis()
        )))
    };
    let interceptor = space.cluster.system(INTERCEPTOR);
    interceptor
        .with_env(&[("KEDA_HTTP_RESPONSE_HEADER_TIMEOUT", Some("300ms"))], findings)
        .await
}
