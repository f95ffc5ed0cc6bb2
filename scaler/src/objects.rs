//! Upstream's objects as the scaler sees them: what their targets are scaled by, live.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use keda_http_core::trigger::Scaling;
use keda_http_kubernetes::scaling::ScalingIndex;
use keda_http_kubernetes::source::directory::{self, DirectoryError};
use keda_http_kubernetes::source::{Change, Problem, Source};
use keda_http_runtime::readiness::Readiness;
use parking_lot::Mutex;
use tokio::sync::watch;

/// The objects; cheap to clone.
#[derive(Clone, Default)]
pub struct Objects {
    index: Arc<Mutex<ScalingIndex>>,
    changes: watch::Sender<()>,
    origin: Option<Arc<PathBuf>>,
}

/// Why there are no objects at the start.
#[derive(Debug, thiserror::Error)]
pub enum ObjectsError {
    /// The directory cannot be a source.
    #[error("KEDA_HTTP_MANIFESTS: {0}")]
    Directory(#[from] DirectoryError),
    /// The source ended before it told its initial state.
    #[error("KEDA_HTTP_MANIFESTS: {0} could not be read")]
    Ended(PathBuf),
}

impl Objects {
    /// Reads a directory of manifests. Returns when all that stands in it is known; what comes later is in the [`Source`].
    ///
    /// # Errors
    /// When the directory cannot be read or watched, or a file in it does not parse.
    pub async fn open(directory: &Path) -> Result<(Self, Source), ObjectsError> {
        let mut source = directory::open(directory)?;
        let objects = Self {
            origin: Some(Arc::new(directory.to_owned())),
            ..Self::default()
        };
        let initial = source
            .next()
            .await
            .ok_or_else(|| ObjectsError::Ended(directory.to_owned()))?;
        objects.take_in(&initial);
        Ok((objects, source))
    }

    /// Follows the source until it ends, and tells of what in it cannot be read.
    pub async fn follow(self, mut source: Source, readiness: Readiness) {
        let mut problems = source.problems();
        report(&problems.borrow_and_update(), &readiness);
        loop {
            tokio::select! {
                changes = source.next() => match changes {
                    Some(changes) => self.take_in(&changes),
                    None => return,
                },
                Ok(()) = problems.changed() => report(&problems.borrow_and_update(), &readiness),
            }
        }
    }

    /// What an InterceptorRoute is scaled by.
    pub fn interceptor_route(&self, namespace: &str, name: &str) -> Option<Scaling> {
        self.index.lock().interceptor_route(namespace, name)
    }

    /// What an HTTPScaledObject is scaled by.
    pub fn http_scaled_object(&self, namespace: &str, name: &str) -> Option<Scaling> {
        self.index.lock().http_scaled_object(namespace, name)
    }

    /// Marks each change of what the scaler answers.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Where objects are looked for, to complete "not found".
    pub fn place(&self) -> String {
        match &self.origin {
            Some(directory) => format!("in {}", directory.display()),
            None => "because this scaler reads no objects (KEDA_HTTP_MANIFESTS is not set)".to_owned(),
        }
    }

    fn take_in(&self, changes: &[Change]) {
        let news = {
            let mut index = self.index.lock();
            // Counted, not `any`: every change must be taken in.
            changes.iter().filter(|change| index.apply(change)).count() > 0
        };
        if news {
            self.changes.send_replace(());
        }
    }
}

fn report(problems: &[Problem], readiness: &Readiness) {
    let told = problems
        .iter()
        .map(|problem| format!("{}: {}", problem.place, problem.reason));
    readiness.set_problems("manifests", told.collect());
}
