//! A directory of ordinary manifests as a source: one object or many per file, YAML or JSON, live on change.

use std::path::{Path, PathBuf};

use super::{Problem, Source};

/// Why a directory cannot be a source.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// It cannot be read or watched.
    #[error("{path}: {reason}")]
    Unreadable {
        /// The directory.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A file in it holds something that is no manifest. Only at the start; later the last good state is kept.
    #[error("{}: {}", .0.place, .0.reason)]
    Malformed(Problem),
}

/// Reads the directory (and its subdirectories), then watches it. Must be called within a tokio runtime.
///
/// # Errors
/// When the directory cannot be read or watched, or a file in it does not parse.
pub fn open(path: &Path) -> Result<Source, DirectoryError> {
    let _ = path;
    todo!()
}
