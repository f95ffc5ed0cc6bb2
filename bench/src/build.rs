//! Which build of the programs is measured: the one of this workspace, and where `BEFORE` names it an earlier one.

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};

use crate::report::Report;

/// The programs that every build has.
const PROGRAMS: [&str; 2] = ["keda-http-interceptor", "keda-http-scaler"];

/// A directory that contains the built programs.
#[derive(Debug, Clone)]
pub struct Build {
    directory: PathBuf,
}

/// The build under test, and the one to compare it with.
#[derive(Debug)]
pub struct Builds {
    /// The build that this program belongs to.
    pub current: Build,
    /// An earlier build, such as `target/release` of another worktree.
    pub before: Option<Build>,
}

impl Build {
    /// An error where one of the programs is missing.
    fn in_directory(directory: PathBuf) -> Result<Self> {
        for program in PROGRAMS {
            ensure!(
                directory.join(program).is_file(),
                "{} does not contain {program}",
                directory.display()
            );
        }
        Ok(Self { directory })
    }

    pub fn program(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

impl Builds {
    /// The build in the directory of this program, and the one in `before`.
    pub fn find(before: Option<PathBuf>) -> Result<Self> {
        let Some(current) = std::env::current_exe()?.parent().map(PathBuf::from) else {
            bail!("the path of this program has no directory");
        };
        Ok(Self {
            current: Build::in_directory(current)?,
            before: before.map(Build::in_directory).transpose()?,
        })
    }

    /// Measures each build on its own, the earlier one first, and reports both.
    pub async fn measure_each(&self, case: impl AsyncFn(&Build) -> Result<Report>) -> Result<Report> {
        let before = match &self.before {
            Some(build) => Some(case(build).await?),
            None => None,
        };
        let mut report = case(&self.current).await?;
        if let Some(before) = before {
            report.compare_with(&before);
        }
        Ok(report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_without_the_programs_is_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("keda-http-interceptor"), "").unwrap();
        let error = Build::in_directory(directory.path().to_owned())
            .unwrap_err()
            .to_string();
        assert!(error.ends_with("does not contain keda-http-scaler"), "{error}");
        std::fs::write(directory.path().join("keda-http-scaler"), "").unwrap();
        let build = Build::in_directory(directory.path().to_owned()).unwrap();
        assert_eq!(
            build.program("keda-http-scaler"),
            directory.path().join("keda-http-scaler")
        );
    }
}
