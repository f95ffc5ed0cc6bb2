//! The cases, one file each.

mod cluster;
mod get64;
mod held;
mod ready;
mod routes;
mod signal;
mod tracing;

use std::io::Write as _;

use anyhow::{Context, Result, bail};

use crate::build::Builds;
use crate::report::Report;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Case {
    /// Time from a request at the interceptor to `true` on KEDA's stream.
    Signal,
    /// Time from a ready endpoint to the first byte at the app.
    Ready,
    /// CPU time of a warm GET, compared with nginx.
    Get64,
    /// Memory of held requests.
    Held,
    /// Cost of many routes.
    Routes,
    /// Cost of spans.
    Tracing,
    /// 10,000 routes of a real API server.
    Cluster,
}

impl Case {
    const ALL: [(&'static str, Self); 7] = [
        ("signal", Self::Signal),
        ("ready", Self::Ready),
        ("get64", Self::Get64),
        ("held", Self::Held),
        ("routes", Self::Routes),
        ("tracing", Self::Tracing),
        ("cluster", Self::Cluster),
    ];

    /// The case of this name, or each of them for `all`.
    pub fn select(name: &str) -> Result<Vec<Self>> {
        let selected: Vec<Self> = Self::ALL
            .iter()
            .filter(|(known, _)| name == "all" || *known == name)
            .map(|(_, case)| *case)
            .collect();
        if selected.is_empty() {
            let names = Self::ALL.map(|(known, _)| known).join(", ");
            bail!("{name:?} is not a case; the cases are {names}, or all of them with `all`");
        }
        Ok(selected)
    }

    /// Cases that compare servers measure both builds in the same rounds, the others one build after the other.
    async fn measure(self, builds: &Builds) -> Result<Report> {
        match self {
            Self::Signal => builds.measure_each(signal::run).await,
            Self::Ready => builds.measure_each(ready::run).await,
            Self::Get64 => get64::run(builds).await,
            Self::Held => builds.measure_each(held::run).await,
            Self::Routes => builds.measure_each(routes::run).await,
            Self::Tracing => tracing::run(builds).await,
            Self::Cluster => builds.measure_each(cluster::run).await,
        }
    }
}

/// Runs the cases one after the other and prints their results. They are also saved, but not those of a comparison: the
/// saved figures are those of one build.
pub async fn run(cases: &[Case], builds: &Builds) -> Result<()> {
    for case in cases {
        let report = case.measure(builds).await.with_context(|| format!("{case:?}"))?;
        if builds.before.is_none() {
            report.save()?;
        }
        // The reader may have gone (`| head`); the report is saved all the same.
        let _ = std::io::stdout().write_all(format!("\n{}", report.text()).as_bytes());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_case_is_answered_with_the_known_ones() {
        assert_eq!(Case::select("held").unwrap(), [Case::Held]);
        assert_eq!(Case::select("all").unwrap().len(), 7);
        assert!(Case::select("hold").unwrap_err().to_string().contains("held, routes"));
    }
}
