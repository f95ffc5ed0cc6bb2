//! The results of all stories as Markdown: docs/e2e.md.

use std::fmt::Write;
use std::time::Duration;

use super::runner::Outcome;

/// What stands above the tables in a file.
pub const HEAD: &str = "\
# End-to-end tests on a real cluster

`make e2e` wrote this page. It runs the end-to-end tests (*stories*) on a real one-node Kubernetes with stock KEDA.
Each story is a file in `e2e/tests/stories` and shows one thing that users do, in a namespace of its own. There are no
stories about TLS yet, because there are no TLS listeners.

*Wake*: the time from a request at zero replicas to its answer. *Held*: requests that wait for a pod. *Load*: requests
at a constant rate to an app that is up; where no pod has to start, no answer may take longer than 5 s.

Three effects of faults belong to Kubernetes and not to the interceptor. They may appear in any run, and a run in
which they do not appear was lucky:

- A process that is killed takes the requests with it that it was answering.
- Until kube-proxy has taken a killed interceptor out of the Service, new connections to it are refused: about three
  of 200 requests at 20 a second. Clients that retry a refused connection do not notice.
- A request that a killed pod may have seen is sent again only where HTTP allows it; otherwise the answer is 502.

The trace of the first story, as Jaeger returned it: [tracing-tutorial.json](tracing-tutorial.json), and as a picture:

![A cold start as one trace](tracing-tutorial.svg)
";

/// As Markdown: a table for each chapter, then the sums.
pub fn markdown(outcomes: &[Outcome], took: Duration) -> String {
    let mut text = String::new();
    let mut chapter = "";
    for outcome in outcomes {
        if outcome.story.chapter != chapter {
            chapter = outcome.story.chapter;
            // Writing to a String cannot fail.
            let _ = write!(
                text,
                "\n## {chapter}\n\n| story | result | s | findings |\n| --- | --- | ---: | --- |\n"
            );
        }
        let _ = writeln!(text, "{}", line(outcome));
    }
    text.push_str(&client_effects(outcomes));
    let count = |wanted: fn(&Outcome) -> bool| outcomes.iter().filter(|outcome| wanted(outcome)).count();
    let _ = writeln!(
        text,
        "\n{} stories: {} passed, {} failed, {} skipped, in {:.1} minutes.",
        outcomes.len(),
        count(|outcome| outcome.result.is_ok()),
        count(Outcome::has_failed),
        count(|outcome| outcome.skipped().is_some()),
        took.as_secs_f64() / 60.0
    );
    text
}

/// How faults affected clients, story by story. In all other stories clients noticed nothing.
fn client_effects(outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    for outcome in outcomes {
        for what in outcome.result.iter().flat_map(|findings| &findings.client_effects) {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "- `{}`: {what}", outcome.story.name);
        }
    }
    match text.is_empty() {
        true => text,
        false => format!("\n## What clients noticed, and why\n\n{text}"),
    }
}

fn line(outcome: &Outcome) -> String {
    let (result, text) = match (&outcome.result, outcome.skipped()) {
        (Ok(findings), _) => ("ok", findings.results.join("; ")),
        (_, Some(reason)) => ("skipped", reason.to_string()),
        (Err(error), None) => ("**failed**", format!("{error:#}")),
    };
    let text = text.replace(['\n', '|'], " ");
    let says = outcome.story.says;
    format!(
        "| `{}`: {says} | {result} | {} | {text} |",
        outcome.story.name,
        outcome.took.as_secs()
    )
}

#[cfg(test)]
mod tests {
    use super::super::{Findings, Skipped, Space, Story};
    use super::*;

    static STORIES: [Story; 3] = [story("one", "First"), story("two", "First"), story("three", "Second")];

    const fn story(name: &'static str, chapter: &'static str) -> Story {
        Story {
            chapter,
            name,
            says: "Something happens",
            alone: false,
            run: |_: Space| Box::pin(std::future::ready(Ok(Findings::default()))),
        }
    }

    #[test]
    fn stories_are_listed_by_chapter_and_client_effects_in_a_list_of_their_own() {
        let results = [
            Ok(Findings::new("a")
                .and("b|c")
                .client_effect("it was slow, since it had to be")),
            Err(anyhow::anyhow!("no\nanswer").context("it is over")),
            Err(Skipped("not here".to_owned()).into()),
        ];
        let outcomes: Vec<Outcome> = STORIES
            .iter()
            .zip(results)
            .map(|(story, result)| Outcome {
                story,
                result,
                took: Duration::from_millis(1500),
            })
            .collect();
        let text = markdown(&outcomes, Duration::from_secs(90));
        let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
        assert_eq!(
            lines,
            [
                "## First",
                "| story | result | s | findings |",
                "| --- | --- | ---: | --- |",
                "| `one`: Something happens | ok | 1 | a; b c |",
                "| `two`: Something happens | **failed** | 1 | it is over: no answer |",
                "## Second",
                "| story | result | s | findings |",
                "| --- | --- | ---: | --- |",
                "| `three`: Something happens | skipped | 1 | not here |",
                "## What clients noticed, and why",
                "- `one`: it was slow, since it had to be",
                "3 stories: 1 passed, 1 failed, 1 skipped, in 1.5 minutes.",
            ]
        );
    }
}
