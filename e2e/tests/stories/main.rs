//! The stories, told on the cluster that `KUBECONFIG` names. `make e2e` runs them all.

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
use keda_http_e2e::story::{Story, summary};
use keda_http_runtime::env::Environment;
use tokio::task::LocalSet;

static STORIES: LazyLock<Vec<Story>> =
    LazyLock::new(|| [tutorial::STORIES, upstream::STORIES, keda::STORIES, faults::STORIES].concat());

const HELP: &str = "\
stories [WORD...]: tells the stories whose name or chapter contains one of the words, or all. `--list` lists them.

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
    let stories = chosen(&STORIES, &words);
    if stories.is_empty() {
        eprintln!("No story has one of {words:?} in its name or its chapter; `--list` lists them.");
        return Ok(ExitCode::FAILURE);
    }
    keda_http_runtime::install_crypto_provider();
    let environment = Environment::process();
    let started = Instant::now();
    let cluster = Cluster::open(&environment).await?;
    // A run that was killed may have left the interceptor at zero. Where KEDA does not scale it, there is nothing to undo.
    cluster.pause_interceptor(None).await.ok();
    cluster.whole().await?;
    let outcomes = LocalSet::new().run_until(Box::pin(run(&stories, &cluster))).await;
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
