//! Wakes a workload of a cluster again and again, and prints where the time goes.

use std::path::PathBuf;

use anyhow::Result;
use keda_http_e2e::cold_start::{Subject, chart, report, table};
use keda_http_runtime::env::Environment;

const HELP: &str = "\
cold-start: wakes a workload again and again, and prints where the time goes. Settings come from the environment:

  KUBECONFIG      the cluster; Services must be reachable from here
  NAMESPACE       of the ScaledObject (default)
  SCALED_OBJECT   with one kedify-http trigger and trafficAutowire: service (otel-tracing-server)
  KEDA_NAMESPACE  of the scaler (keda)
  RUNS            how many wakes (30)
  REPORT          a directory for cold-start.md and cold-start.svg
";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    if std::env::args()
        .skip(1)
        .any(|argument| argument == "-h" || argument == "--help")
    {
        eprint!("{HELP}");
        return Ok(());
    }
    keda_http_runtime::install_crypto_provider();
    let environment = Environment::process();
    let setting = |name, default: &str| environment.get(name).unwrap_or_else(|| default.to_owned());
    let runs = environment.number("RUNS")?.unwrap_or(30);
    let mut subject = Subject::open(
        kube::Client::try_default().await?,
        &setting("NAMESPACE", "default"),
        &setting("SCALED_OBJECT", "otel-tracing-server"),
        &setting("KEDA_NAMESPACE", "keda"),
    )
    .await?;
    let mut wakes = Vec::new();
    for number in 1..=runs {
        let wake = subject.wake().await?;
        eprintln!("{number}: {} {:?}", wake.status, wake.points);
        wakes.push(wake);
    }
    eprint!("{}", table(&wakes));
    if let Some(directory) = environment.get("REPORT").map(PathBuf::from) {
        std::fs::write(directory.join("cold-start.md"), report(&wakes))?;
        std::fs::write(directory.join("cold-start.svg"), chart(&wakes))?;
    }
    Ok(())
}
