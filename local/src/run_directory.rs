//! The directory that interceptor and scaler read: the user's manifests, and our EndpointSlices beside them.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The directory; one that was made for this run is removed at the end.
#[derive(Debug)]
pub struct RunDirectory {
    manifests: PathBuf,
    users: PathBuf,
    slices: PathBuf,
    _temporary: Option<tempfile::TempDir>,
}

/// The example that runs when no manifests are given.
const HELLO: &str = include_str!("../../examples/web/web.yaml");

impl RunDirectory {
    /// Prepares it at `path`, or at a temporary place. The user's directory is a link in it, so that every change of the
    /// user's files is seen as it happens; without one the example is written there.
    ///
    /// # Errors
    /// When it cannot be written, or `users` is not a directory.
    pub fn prepare(path: Option<&Path>, users: Option<&Path>) -> Result<Self> {
        let temporary = match path {
            Some(_) => None,
            None => Some(tempfile::Builder::new().prefix("keda-http-local-").tempdir()?),
        };
        let own = path
            .or_else(|| temporary.as_ref().map(tempfile::TempDir::path))
            .unwrap_or(Path::new("."));
        let own = std::path::absolute(own)?;
        let manifests = own.join("manifests");
        let slices = manifests.join("endpointslices");
        let link = manifests.join("users");
        let prepared = clear(&link)
            .and_then(|()| clear(&slices))
            .and_then(|()| std::fs::create_dir_all(&slices));
        prepared.with_context(|| format!("cannot write the run directory {}", own.display()))?;
        let users = match users {
            Some(users) => std::fs::canonicalize(users).with_context(|| users.display().to_string())?,
            None => example(&own)?,
        };
        std::os::unix::fs::symlink(&users, &link)?;
        Ok(Self {
            manifests,
            users,
            slices,
            _temporary: temporary,
        })
    }

    /// What interceptor and scaler read.
    pub fn manifests(&self) -> &Path {
        &self.manifests
    }

    pub fn users(&self) -> &Path {
        &self.users
    }

    /// Where EndpointSlices are written.
    pub fn slices(&self) -> &Path {
        &self.slices
    }
}

/// Removes what an earlier run has left.
fn clear(path: &Path) -> io::Result<()> {
    let result = match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn example(own: &Path) -> Result<PathBuf> {
    let directory = own.join("hello");
    std::fs::create_dir_all(&directory)?;
    std::fs::write(directory.join("hello.yaml"), HELLO)?;
    Ok(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_files_are_seen_through_it_and_a_former_run_is_cleared() {
        let own = tempfile::tempdir().unwrap();
        let users = tempfile::tempdir().unwrap();
        let first = RunDirectory::prepare(Some(own.path()), Some(users.path())).unwrap();
        std::fs::write(first.slices().join("old.json"), "").unwrap();
        let second = RunDirectory::prepare(Some(own.path()), Some(users.path())).unwrap();
        assert!(!second.slices().join("old.json").exists());
        std::fs::write(users.path().join("new.yaml"), "").unwrap();
        assert!(second.manifests().join("users/new.yaml").exists());
    }

    #[test]
    fn without_manifests_there_is_the_example_and_the_temporary_directory_goes_with_it() {
        let directory = RunDirectory::prepare(None, None).unwrap();
        let manifests = directory.manifests().to_owned();
        assert!(manifests.join("users/hello.yaml").exists());
        drop(directory);
        assert!(!manifests.exists());
    }

    #[test]
    fn a_directory_that_does_not_exist_is_named() {
        let error = RunDirectory::prepare(None, Some(Path::new("/no/such/place"))).unwrap_err();
        assert!(format!("{error:#}").starts_with("/no/such/place: "), "{error:#}");
    }
}
