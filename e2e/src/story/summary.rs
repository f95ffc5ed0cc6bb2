//! The table of all stories.

use std::fmt::Write;
use std::time::Duration;

use super::runner::Outcome;

/// What stands above the tables in a file.
pub const HEAD: &str = "\
# Stories on a real cluster

What users do, told on a real one-node Kubernetes with stock KEDA by `make e2e`, which made this page. Each story is a file in `e2e/tests/stories`, has
a namespace of its own, and leaves nothing behind. *wake*: from zero replicas to the first answer. *held*: requests that wait for a pod.
*load*: requests at a constant rate to an app that is up.

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
