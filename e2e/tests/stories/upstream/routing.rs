//! Which app a request reaches: by host, several hosts, wildcard, path, header, and by a port's name.

use anyhow::{Context, Result, ensure};
use keda_http_e2e::story::caller::{client, send};
use keda_http_e2e::story::{Findings, Space, Story};

use super::CHAPTER;

pub const STORY: Story = Story {
    chapter: CHAPTER,
    name: "routing",
    says: "Host, path and headers choose the app, the most specific rule first",
    alone: false,
    run: |space| Box::pin(run(space)),
};

/// Host, path, headers, and who must answer; nobody: 404.
type Case = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
    Option<&'static str>,
);

const CASES: &[Case] = &[
    ("one.routing.test", "/", &[], Some("a")),
    ("two.routing.test", "/deep/path", &[], Some("a")),
    ("ONE.routing.test:8080", "/", &[], Some("a")),
    ("three.routing.test", "/", &[], None),
    ("any.wild.test", "/", &[], Some("a")),
    ("exact.wild.test", "/", &[], Some("b")),
    ("any.tame.test", "/", &[], None),
    ("paths.test", "/a", &[], Some("a")),
    ("paths.test", "/a/below", &[], Some("a")),
    ("paths.test", "/a/b", &[], Some("b")),
    ("paths.test", "/ab", &[], None),
    ("headers.test", "/", &[], None),
    ("headers.test", "/", &[("x-team", "any")], Some("a")),
    ("headers.test", "/", &[("x-team", "b")], Some("b")),
    ("rules-1.test", "/v1", &[], Some("b")),
    ("rules-2.test", "/v2", &[], Some("b")),
    ("rules-1.test", "/v2", &[], None),
    ("by-port-name.test", "/", &[], Some("b")),
];

/// Name, Service, its port, and rules.
const ROUTES: &[(&str, &str, &str, &str)] = &[
    (
        "several-hosts",
        "a",
        "port: 8080",
        "[{hosts: [one.routing.test, two.routing.test]}]",
    ),
    ("wildcard", "a", "port: 8080", "[{hosts: ['*.wild.test']}]"),
    ("exact", "b", "port: 8080", "[{hosts: [exact.wild.test]}]"),
    (
        "path",
        "a",
        "port: 8080",
        "[{hosts: [paths.test], paths: [{value: /a}]}]",
    ),
    (
        "longer-path",
        "b",
        "port: 8080",
        "[{hosts: [paths.test], paths: [{value: /a/b}]}]",
    ),
    (
        "presence",
        "a",
        "port: 8080",
        "[{hosts: [headers.test], headers: [{name: x-team}]}]",
    ),
    (
        "value",
        "b",
        "port: 8080",
        "[{hosts: [headers.test], headers: [{name: x-team, value: b}]}]",
    ),
    (
        "several-rules",
        "b",
        "port: 8080",
        "[{hosts: [rules-1.test], paths: [{value: /v1}]}, {hosts: [rules-2.test], paths: [{value: /v2}]}]",
    ),
    ("port-name", "b", "portName: http", "[{hosts: [by-port-name.test]}]"),
];

async fn run(space: Space) -> Result<Findings> {
    space.app("a", 1, &[]).await?;
    space.app("b", 1, &[]).await?;
    for (name, service, port, rules) in ROUTES {
        let target = format!("{{service: {service}, {port}}}");
        space.route_by(name, &target, rules, "").await?;
    }
    for (name, ..) in ROUTES {
        space.route_ready(name).await?;
    }
    for case in CASES {
        reaches(&space, case).await?;
    }
    Ok(Findings::new(format!(
        "{} requests by {} routes",
        CASES.len(),
        ROUTES.len()
    )))
}

async fn reaches(space: &Space, (host, path, headers, who): &Case) -> Result<()> {
    let url = format!("{}{path}", space.cluster.interceptor().await?);
    let mut request = client()?.get(url).header("host", *host);
    for (name, value) in *headers {
        request = request.header(*name, *value);
    }
    let answer = send(request)
        .await
        .with_context(|| format!("{host}{path} {headers:?}"))?;
    let right = match who {
        Some(app) => answer.status == 200 && answer.pod().starts_with(&format!("{app}-")),
        None => answer.status == 404,
    };
    ensure!(right, "{host}{path} {headers:?}: {who:?} expected, not {answer:?}");
    Ok(())
}
