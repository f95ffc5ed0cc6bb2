//! Runs the end-to-end tests on the cluster that `KUBECONFIG` names. `make e2e` runs all of them.

mod faults;
mod keda;
mod tutorial;
mod upstream;

use std::process::ExitCode;
use std::sync::LazyLock;
use std::time::Instant;

use anyhow::{Context, Result};
use keda_http_e2e::story::cluster::{Cluster, SETTINGS};
use keda_http_e2e::story::runner::{Outcome, chosen, run};
use keda_http_e2e::story::under_way::UnderWay;
use keda_http_e2e::story::{Story, leftovers, summary};
use keda_http_runtime::env::Environment;
use keda_http_runtime::shutdown;
use tokio::task::LocalSet;

static STORIES: LazyLock<Vec<Story>> =
    LazyLock::new(|| [tutorial::STORIES, upstream::STORIES, keda::STORIES, faults::STORIES].concat());

const HELP: &str = "\
stories [WORD...]: runs the end-to-end tests (stories) whose name or chapter contains one of the words, or all of them.
`--list` lists the stories.

Settings come from the environment:

";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "--help" || word == "-h") {
        eprintln!("{HELP}{SETTINGS}  SUMMARY           a file for the table of all stories");
        return Ok(ExitCode::SUCCESS);
    }
    if words.iter().any(|word| word == "--list") {
        STORIES
            .iter()
            .for_each(|story| eprintln!("{:<28} {}", story.name, story.says));
        return Ok(ExitCode::SUCCESS);
    }
    let stories = match chosen(&STORIES, &words) {
        Ok(stories) => stories,
        Err(error) => {
            eprintln!("{error}");
            return Ok(ExitCode::FAILURE);
        }
    };
    keda_http_runtime::install_crypto_provider();
    let environment = Environment::process();
    let started = Instant::now();
    let cluster = Cluster::open(&environment).await?;
    let under_way = UnderWay::default();
    let stories_run = Box::pin(run_stories(&stories, &cluster, &under_way));
    // Dropping a story resumes what it has stopped, before anything is restored.
    let Some(outcomes) = shutdown::on_signal()?.run_until_cancelled_owned(stories_run).await else {
        eprintln!("Interrupted: restoring what the running stories have changed; a second signal ends at once.");
        under_way.put_back(&cluster).await?;
        return Ok(ExitCode::from(shutdown::EXIT_AT_ONCE));
    };
    let outcomes = outcomes?;
    let table = summary::markdown(&outcomes, started.elapsed());
    eprint!("{table}");
    if let Some(path) = environment.get("SUMMARY") {
        std::fs::write(&path, format!("{}{table}", summary::HEAD)).context(path)?;
    }
    Ok(match outcomes.iter().any(Outcome::has_failed) {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    })
}

async fn run_stories(stories: &[&'static Story], cluster: &Cluster, under_way: &UnderWay) -> Result<Vec<Outcome>> {
    leftovers::put_right(cluster).await?;
    cluster.whole().await?;
    let all = Box::pin(run(stories, cluster, under_way));
    Ok(LocalSet::new().run_until(all).await)
}
