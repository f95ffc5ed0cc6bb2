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

use crate::report::Report;

/// One thing that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Case {
    /// A request at the interceptor -> `true` on KEDA's stream.
    Signal,
    /// An endpoint ready -> the first byte at the app.
    Ready,
    /// CPU of a warm GET beside nginx's.
    Get64,
    /// Memory of held requests.
    Held,
    /// What many routes cost.
    Routes,
    /// What spans cost.
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
            bail!("there is no case {name:?}; there are {names}, and all");
        }
        Ok(selected)
    }

    async fn measure(self) -> Result<Report> {
        match self {
            Self::Signal => signal::run().await,
            Self::Ready => ready::run().await,
            Self::Get64 => get64::run().await,
            Self::Held => held::run().await,
            Self::Routes => routes::run().await,
            Self::Tracing => tracing::run().await,
            Self::Cluster => cluster::run().await,
        }
    }
}

/// Runs the cases one after the other, and prints and saves what each has found.
pub async fn run(cases: &[Case]) -> Result<()> {
    for case in cases {
        let report = case.measure().await.with_context(|| format!("{case:?}"))?;
        report.save()?;
        std::io::stdout().write_all(format!("\n{}", report.text()).as_bytes())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_name_is_told_the_right_ones() {
        assert_eq!(Case::select("held").unwrap(), [Case::Held]);
        assert_eq!(Case::select("all").unwrap().len(), 7);
        assert!(Case::select("hold").unwrap_err().to_string().contains("held, routes"));
    }
}
