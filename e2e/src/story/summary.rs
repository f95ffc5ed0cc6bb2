//! The table of all stories.

use std::fmt::Write;
use std::time::Duration;

use super::runner::Outcome;

/// What stands above the tables in a file.
pub const HEAD: &str = "\
# Stories on a real cluster

What users do, told on a real one-node Kubernetes with stock KEDA by `make e2e`, which made this page. The stories are in `e2e/tests/stories`, each
with a namespace of its own that goes with it. Those about TLS are not told yet: there are no TLS listeners. *wake*: from zero replicas to the first answer. *held*: requests that wait for a pod.
*load*: requests at a constant rate to an app that is up. Where nothing has to wake none of its answers may take longer than 5 s.

The trace of the first story, as Jaeger gave it: [tracing-tutorial.json](tracing-tutorial.json), and as a picture:

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
                "\n## {chapter}\n\n| story | result | s | what was seen |\n| --- | --- | ---: | --- |\n"
            );
        }
        let _ = writeln!(text, "{}", line(outcome));
    }
    text.push_str(&noticed(outcomes));
    let count = |wanted: fn(&Outcome) -> bool| outcomes.iter().filter(|outcome| wanted(outcome)).count();
    let _ = writeln!(
        text,
        "\n{} stories: {} told, {} failed, {} skipped, in {:.1} minutes.",
        outcomes.len(),
        count(|outcome| outcome.result.is_ok()),
        count(Outcome::has_failed),
        count(|outcome| outcome.skipped().is_some()),
        took.as_secs_f64() / 60.0
    );
    text
}

/// What clients could tell of faults, story by story. In all other stories they could tell nothing.
fn noticed(outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    for outcome in outcomes {
        for what in outcome.result.iter().flat_map(|told| &told.noticed) {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "- `{}`: {what}", outcome.story.name);
        }
    }
    match text.is_empty() {
        true => text,
        false => format!("\n## What clients could tell, and why\n\n{text}"),
    }
}

fn line(outcome: &Outcome) -> String {
    let (result, seen) = match (&outcome.result, outcome.skipped()) {
        (Ok(told), _) => ("ok", told.seen.join("; ")),
        (_, Some(reason)) => ("skipped", reason.to_string()),
        (Err(error), None) => ("**failed**", format!("{error:#}")),
    };
    let seen = seen.replace(['\n', '|'], " ");
    let says = outcome.story.says;
    format!(
        "| `{}`: {says} | {result} | {} | {seen} |",
        outcome.story.name,
        outcome.took.as_secs()
    )
}

#[cfg(test)]
mod tests {
    use super::super::{Skipped, Space, Story, Told};
    use super::*;

    static STORIES: [Story; 3] = [story("one", "First"), story("two", "First"), story("three", "Second")];

    const fn story(name: &'static str, chapter: &'static str) -> Story {
        Story {
            chapter,
            name,
            says: "Something happens",
            alone: false,
            tell: |_: Space| Box::pin(std::future::ready(Ok(Told::default()))),
        }
    }

    #[test]
    fn stories_stand_in_the_table_of_their_chapter_and_what_clients_could_tell_in_a_list() {
        let results = [
            Ok(Told::that("a").and("b|c").noticed("it was slow, since it had to be")),
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
                "| story | result | s | what was seen |",
                "| --- | --- | ---: | --- |",
                "| `one`: Something happens | ok | 1 | a; b c |",
                "| `two`: Something happens | **failed** | 1 | it is over: no answer |",
                "## Second",
                "| story | result | s | what was seen |",
                "| --- | --- | ---: | --- |",
                "| `three`: Something happens | skipped | 1 | not here |",
                "## What clients could tell, and why",
                "- `one`: it was slow, since it had to be",
                "3 stories: 1 told, 1 failed, 1 skipped, in 1.5 minutes.",
            ]
        );
    }
}
