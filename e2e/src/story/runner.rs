//! Runs stories: first those that disturb no other, some at the same time, then the others one after another.

use std::any::Any;
use std::future::ready;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use futures_util::{StreamExt, stream};
use tokio::task::JoinError;
use tokio::time::Instant;

use super::cluster::{Cluster, then_put_back};
use super::snapshot::Snapshot;
use super::under_way::UnderWay;
use super::{Findings, Skipped, Space, Story};

/// How many run at the same time: they wait for KEDA and for the kubelet most of the time.
const SIDE_BY_SIDE: usize = 4;
/// A story that takes longer has failed.
const LIMIT: Duration = Duration::from_secs(600);

/// The result of a story.
pub struct Outcome {
    /// The story that ran.
    pub story: &'static Story,
    /// What it found, or why it failed or was skipped.
    pub result: Result<Findings>,
    /// How long it took, including the removal of its namespace.
    pub took: Duration,
}

impl Outcome {
    /// Why it was skipped, if it was.
    pub fn skipped(&self) -> Option<&Skipped> {
        self.result.as_ref().err()?.downcast_ref()
    }

    /// Whether it failed; a skipped story did not.
    pub fn has_failed(&self) -> bool {
        self.result.is_err() && self.skipped().is_none()
    }
}

/// The stories whose name or chapter contains one of `words`, or all stories without any words.
///
/// # Errors
/// When a word matches no story. The message lists all such words.
pub fn chosen(stories: &'static [Story], words: &[String]) -> Result<Vec<&'static Story>> {
    let matches = |story: &Story, word: &String| story.name.contains(word) || story.chapter.contains(word);
    let matches_none = |word: &&String| !stories.iter().any(|story| matches(story, word));
    let unknown: Vec<&String> = words.iter().filter(matches_none).collect();
    ensure!(
        unknown.is_empty(),
        "no story has {unknown:?} in its name or its chapter; `--list` lists all stories"
    );
    let is_chosen = |story: &&Story| words.is_empty() || words.iter().any(|word| matches(story, word));
    Ok(stories.iter().filter(is_chosen).collect())
}

/// Runs stories and returns the outcomes in their order. If this future is dropped, `under_way` knows what to restore.
pub async fn run(stories: &[&'static Story], cluster: &Cluster, under_way: &UnderWay) -> Vec<Outcome> {
    let (alone, others): (Vec<&Story>, Vec<&Story>) = stories.iter().partition(|story| story.alone);
    let mut outcomes: Vec<Outcome> = stream::iter(others)
        .map(|story| run_story(story, cluster, under_way))
        .buffer_unordered(SIDE_BY_SIDE)
        .collect()
        .await;
    for story in alone {
        outcomes.push(run_story(story, cluster, under_way).await);
    }
    outcomes.sort_by_key(|outcome| stories.iter().position(|story| story.name == outcome.story.name));
    outcomes
}

async fn run_story(story: &'static Story, cluster: &Cluster, under_way: &UnderWay) -> Outcome {
    let started = Instant::now();
    let result = match story.alone {
        true => run_alone(story, cluster, under_way).await,
        false => run_in_namespace(story, cluster, under_way).await,
    };
    let outcome = Outcome {
        story,
        result,
        took: started.elapsed(),
    };
    let seconds = outcome.took.as_secs();
    match (&outcome.result, outcome.skipped()) {
        (Ok(findings), _) => eprintln!(
            "ok       {:<28} {seconds:>4} s  {}",
            story.name,
            findings.results.join("; ")
        ),
        (_, Some(reason)) => eprintln!("skipped  {:<28} {seconds:>4} s  {reason}", story.name),
        (Err(error), None) => eprintln!("FAILED   {:<28} {seconds:>4} s  {error:#}", story.name),
    }
    outcome
}

/// A story that runs alone may change interceptor and scaler; if it fails, they are restored for the stories that follow.
async fn run_alone(story: &Story, cluster: &Cluster, under_way: &UnderWay) -> Result<Findings> {
    let before = Snapshot::take(cluster).await?;
    under_way.changes(Some(before.clone()));
    let result = run_in_namespace(story, cluster, under_way).await;
    let restored = match result {
        Ok(_) => Ok(()),
        Err(_) => before.restore(cluster).await,
    };
    under_way.changes(None);
    then_put_back(ready(result), ready(restored)).await
}

async fn run_in_namespace(story: &Story, cluster: &Cluster, under_way: &UnderWay) -> Result<Findings> {
    under_way.began(&story.namespace());
    let space = Space::create(cluster, story.name).await?;
    let result = run_as_task(story, &space).await;
    if result.as_ref().is_err_and(|error| !error.is::<Skipped>()) {
        let events = space.events().await;
        eprintln!("    warnings in {}:\n{events}", space.name);
    }
    let delete = async {
        space.delete().await?;
        under_way.ended(&story.namespace());
        Ok(())
    };
    then_put_back(ready(result), delete).await
}

async fn run_as_task(story: &Story, space: &Space) -> Result<Findings> {
    // A task of its own, so that a failed assertion does not end the other stories.
    let mut task = tokio::task::spawn_local((story.run)(space.clone()));
    match tokio::time::timeout(LIMIT, &mut task).await {
        Ok(ended) => ended.unwrap_or_else(|error| Err(broken(error))),
        Err(_) => {
            task.abort();
            // Dropping the story resumes what it has stopped; that must happen before this returns.
            task.await.ok();
            Err(anyhow!("the story did not end within {LIMIT:?}"))
        }
    }
}

/// Why a story's task has ended without a result.
fn broken(error: JoinError) -> anyhow::Error {
    match error.try_into_panic() {
        Ok(panic) => anyhow!("panicked: {}", message(&*panic)),
        Err(error) => error.into(),
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let formatted = panic.downcast_ref::<String>().map(String::as_str);
    let literal = || panic.downcast_ref::<&str>().copied();
    formatted.or_else(literal).unwrap_or("without a message")
}

#[cfg(test)]
mod tests {
    use super::*;

    static STORIES: [Story; 3] = [
        story("wake", "First"),
        story("wake_again", "First"),
        story("sleep", "Last"),
    ];

    const fn story(name: &'static str, chapter: &'static str) -> Story {
        Story {
            chapter,
            name,
            says: "Something happens",
            alone: false,
            run: |_: Space| Box::pin(ready(Ok(Findings::default()))),
        }
    }

    fn names(words: &[&str]) -> Result<Vec<&'static str>> {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        let chosen = chosen(&STORIES, &words)?;
        Ok(chosen.iter().map(|story| story.name).collect())
    }

    #[test]
    fn words_choose_by_name_and_by_chapter_and_none_chooses_all() {
        assert_eq!(names(&[]).unwrap(), ["wake", "wake_again", "sleep"]);
        assert_eq!(names(&["again"]).unwrap(), ["wake_again"]);
        assert_eq!(names(&["Last", "wake_"]).unwrap(), ["wake_again", "sleep"]);
    }

    #[test]
    fn a_misspelt_word_beside_a_right_one_is_named_and_chooses_nothing() {
        let error = names(&["wake", "slepe", "Frist"]).unwrap_err().to_string();
        assert!(
            error.contains(r#"["slepe", "Frist"]"#) && !error.contains("wake"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_panic_is_reported_with_its_message() {
        let formatted = tokio::spawn(async { panic!("{} replicas", 2) });
        let literal = tokio::spawn(async { panic!("no replica") });
        assert_eq!(broken(formatted.await.unwrap_err()).to_string(), "panicked: 2 replicas");
        assert_eq!(broken(literal.await.unwrap_err()).to_string(), "panicked: no replica");
        let endless = tokio::spawn(std::future::pending::<()>());
        endless.abort();
        let error = broken(endless.await.unwrap_err()).to_string();
        assert!(error.contains("cancelled"), "{error}");
    }
}
