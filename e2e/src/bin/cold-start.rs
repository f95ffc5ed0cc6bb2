//! Wakes a workload of a cluster again and again, and prints where the time goes.

use std::num::NonZeroU64;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use keda_http_e2e::cold_start::{Subject, Wake, chart, goals, report, table};
use keda_http_runtime::env::Environment;
use keda_http_runtime::process::print;

const HELP: &str = "\
cold-start: wakes a workload again and again, and prints where the time goes. Settings come from the environment:

  KUBECONFIG      the cluster; Services must be reachable from here
  NAMESPACE       of the ScaledObject (default)
  SCALED_OBJECT   with one kedify-http trigger and trafficAutowire: service (otel-tracing-server)
  KEDA_NAMESPACE  of the scaler (keda)
  RUNS            how many wakes (30)
  REPORT          a directory for cold-start.md and cold-start.svg

A wake that is not answered 200, or in which our own share was not seen, ends it. Exit code 1 also when a goal is missed.
";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode> {
    if std::env::args()
        .skip(1)
        .any(|argument| argument == "-h" || argument == "--help")
    {
        return Ok(print(HELP));
    }
    keda_http_runtime::install_crypto_provider();
    let environment = Environment::process();
    let setting = |name, default: &str| environment.get(name).unwrap_or_else(|| default.to_owned());
    let runs = runs(&environment)?;
    let mut subject = Subject::open(
        kube::Client::try_default().await?,
        &setting("NAMESPACE", "default"),
        &setting("SCALED_OBJECT", "otel-tracing-server"),
        &setting("KEDA_NAMESPACE", "keda"),
    )
    .await?;
    let mut wakes = Vec::new();
    for number in 1..=runs {
        let wake = subject
            .wake()
            .await
            .with_context(|| format!("wake {number} of {runs}"))?;
        eprintln!("{number}: {:?}", wake.points);
        wakes.push(wake);
    }
    print_and_save(&wakes, environment.get("REPORT").as_deref().map(Path::new))
}

/// How many wakes.
fn runs(environment: &Environment) -> Result<u64> {
    let runs = environment.parsed("RUNS", "a whole number, 1 or more", str::parse::<NonZeroU64>)?;
    Ok(runs.map_or(30, NonZeroU64::get))
}

/// Prints what was measured and which goals were missed, and writes the report where one is wanted.
fn print_and_save(wakes: &[Wake], directory: Option<&Path>) -> Result<ExitCode> {
    eprint!("{}", table(wakes));
    if let Some(directory) = directory {
        std::fs::write(directory.join("cold-start.md"), report(wakes))?;
        std::fs::write(directory.join("cold-start.svg"), chart(wakes))?;
    }
    let missed = goals::missed(wakes);
    if missed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("Goals missed: {}", missed.join("; "));
    Ok(ExitCode::FAILURE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_at_least_one_wake() {
        let read = |variables: &[(&str, &str)]| runs(&Environment::of(variables.iter().copied()));
        assert_eq!(read(&[]).unwrap(), 30);
        assert_eq!(read(&[("RUNS", "3")]).unwrap(), 3);
        for value in ["0", "-1", "many"] {
            let error = read(&[("RUNS", value)]).unwrap_err().to_string();
            assert!(error.contains("RUNS") && error.contains("1 or more"), "{error}");
        }
    }
}
