//! Runs stories: first those that disturb nobody, some side by side, then the others one after another.

use std::time::Duration;

use anyhow::Result;
use futures_util::{StreamExt, stream};
use tokio::time::Instant;

use super::cluster::Cluster;
use super::snapshot::Snapshot;
use super::{Skipped, Space, Story, Told};

/// How many run at once: they wait most of the time, for KEDA and for the kubelet.
const SIDE_BY_SIDE: usize = 4;
/// No story takes longer.
const LIMIT: Duration = Duration::from_secs(600);

/// What has become of a story.
pub struct Outcome {
    /// Which.
    pub story: &'static Story,
    /// How it ended.
    pub result: Result<Told>,
    /// How long it took, what it leaves behind removed.
    pub took: Duration,
}

impl Outcome {
    /// Why it was not told.
    pub fn skipped(&self) -> Option<&Skipped> {
        self.result.as_ref().err()?.downcast_ref()
    }

    /// Whether it has failed.
    pub fn has_failed(&self) -> bool {
        self.result.is_err() && self.skipped().is_none()
    }
}

/// Those whose name or chapter contains one of `words`, or all where there are none.
pub fn chosen(stories: &'static [Story], words: &[String]) -> Vec<&'static Story> {
    let is_chosen = |story: &&Story| {
        let matches = |word: &String| story.name.contains(word) || story.chapter.contains(word);
        words.is_empty() || words.iter().any(matches)
    };
    stories.iter().filter(is_chosen).collect()
}

/// Runs stories. The outcomes have their order.
pub async fn run(stories: &[&'static Story], cluster: &Cluster) -> Vec<Outcome> {
    let (alone, others): (Vec<&Story>, Vec<&Story>) = stories.iter().partition(|story| story.alone);
    let mut outcomes: Vec<Outcome> = stream::iter(others)
        .map(|story| tell(story, cluster))
        .buffer_unordered(SIDE_BY_SIDE)
        .collect()
        .await;
    for story in alone {
        outcomes.push(tell(story, cluster).await);
    }
    outcomes.sort_by_key(|outcome| stories.iter().position(|story| story.name == outcome.story.name));
    outcomes
}

async fn tell(story: &'static Story, cluster: &Cluster) -> Outcome {
    let started = Instant::now();
    let result = match story.alone {
        true => with_the_system_put_back(story, cluster).await,
        false => in_its_space(story, cluster).await,
    };
    let outcome = Outcome {
        story,
        result,
        took: started.elapsed(),
    };
    let seconds = outcome.took.as_secs();
    match (&outcome.result, outcome.skipped()) {
        (Ok(told), _) => eprintln!("ok       {:<28} {seconds:>4} s  {}", story.name, told.seen.join("; ")),
        (_, Some(reason)) => eprintln!("skipped  {:<28} {seconds:>4} s  {reason}", story.name),
        (Err(error), None) => eprintln!("FAILED   {:<28} {seconds:>4} s  {error:#}", story.name),
    }
    outcome
}

/// A story that runs by itself may have changed what it stands on; when it fails, that is put back for those that follow.
async fn with_the_system_put_back(story: &Story, cluster: &Cluster) -> Result<Told> {
    let before = Snapshot::take(cluster).await?;
    let result = in_its_space(story, cluster).await;
    if result.is_err()
        && let Err(error) = before.restore(cluster).await
    {
        eprintln!("    interceptor and scaler are not as they were before: {error:#}");
    }
    result
}

async fn in_its_space(story: &Story, cluster: &Cluster) -> Result<Told> {
    let space = Space::create(cluster, story.name).await?;
    // A task of its own, so that an assertion that fails is no end of the others.
    let mut telling = tokio::task::spawn_local((story.tell)(space.clone()));
    let result = match tokio::time::timeout(LIMIT, &mut telling).await {
        Ok(Ok(result)) => result,
        Ok(Err(error)) => Err(anyhow::anyhow!("{error}")),
        Err(_) => {
            telling.abort();
            Err(anyhow::anyhow!("not told within {LIMIT:?}"))
        }
    };
    if result.as_ref().is_err_and(|error| !error.is::<Skipped>()) {
        let events = space.events().await;
        eprintln!("    warnings in {}:\n{events}", space.name);
    }
    space.delete().await?;
    result
}
