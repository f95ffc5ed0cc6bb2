//! The three timeouts of a route: until a pod is ready, until the first header, and for the whole request.

use std::time::Duration;

use anyhow::{Result, ensure};
use keda_http_e2e::story::{Findings, Space, Story};

use super::CHAPTER;

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "timeouts",
    says: "The readiness, response header and request timeouts of a route each end in 504 when they have passed",
    alone: false,
    run: |space| Box::pin(run(space)),
};

async fn run(space: Space) -> Result<Findings> {
    space.app("slow", 1, &[("RESPONSE_DELAY", "1")]).await?;
    space.app("asleep", 0, &[]).await?;
    // Name, Service, timeouts, the status, and not before how many milliseconds it is given.
    let cases = [
        ("patient", "slow", "responseHeader: 10s, request: 10s", 200, 1000),
        ("header", "slow", "responseHeader: 200ms", 504, 200),
        ("request", "slow", "request: 500ms", 504, 500),
        ("readiness", "asleep", "readiness: 300ms", 504, 300),
    ];
    for (name, service, timeouts, ..) in cases {
        let timeouts = format!("  timeouts: {{{timeouts}}}\n");
        space.route_to(name, service, &timeouts).await?;
    }
    let mut findings = Findings::default();
    for (name, _, timeouts, status, least) in cases {
        space.route_ready(name).await?;
        let answer = space.get(name, "/").await?.expect(status)?;
        let least = Duration::from_millis(least);
        ensure!(
            answer.took >= least && answer.took < least + Duration::from_secs(1),
            "{name}: {answer:?}"
        );
        findings = findings.and(format!("{timeouts}: {status} after {} ms", answer.took.as_millis()));
    }
    Ok(findings)
}
