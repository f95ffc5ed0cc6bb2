//! Upstream's objects as the scaler sees them: what their targets are scaled by, live.

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use keda_http_core::trigger::Scaling;
use keda_http_kubernetes::index::Index;
use keda_http_kubernetes::scaling::ScalingIndex;
use keda_http_kubernetes::source::directory::{self, DirectoryError};
use keda_http_kubernetes::source::{Change, Problem, Source};
use keda_http_runtime::readiness::{PendingTask, Readiness};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::sleep;

/// How long the scaler is not ready because objects are not known: calls that are about none of them can be answered.
const FIRST_READING: Duration = Duration::from_secs(15);

/// The objects; cheap to clone.
#[derive(Clone)]
pub struct Objects {
    state: Arc<Mutex<State>>,
    changes: watch::Sender<()>,
    origin: Origin,
}

#[derive(Default)]
struct State {
    index: ScalingIndex,
    /// Whether the source has told all that was there at the beginning.
    complete: bool,
}

/// Where the objects come from.
#[derive(Clone)]
enum Origin {
    Nowhere,
    Directory(Arc<PathBuf>),
    Cluster,
}

/// The directory of manifests cannot be a source.
#[derive(Debug, thiserror::Error)]
#[error("KEDA_HTTP_MANIFESTS: {0}")]
pub struct ObjectsError(#[from] DirectoryError);

impl Objects {
    /// No objects, now and always.
    pub fn none() -> Self {
        let objects = Self::of(Origin::Nowhere);
        objects.state.lock().complete = true;
        objects
    }

    /// Those of the API server; none is known until [`Objects::follow`] is given its source.
    pub fn of_cluster() -> Self {
        Self::of(Origin::Cluster)
    }

    /// Reads a directory of manifests. Returns when all that stands in it is known; what comes later is in the [`Source`].
    ///
    /// # Errors
    /// When the directory cannot be read or watched, or a file in it does not parse.
    pub async fn open(directory: &Path) -> Result<(Self, Source), ObjectsError> {
        let mut source = directory::open(directory)?;
        let objects = Self::of(Origin::Directory(Arc::new(directory.to_owned())));
        while let Some(piece) = source.initial().await {
            objects.take_in(&piece);
        }
        objects.complete();
        Ok((objects, source))
    }

    fn of(origin: Origin) -> Self {
        Self {
            state: Arc::default(),
            changes: watch::Sender::new(()),
            origin,
        }
    }

    /// Follows the source until it ends, and tells of what in it cannot be read. `first` is held until all that is there
    /// has been told, but no longer than [`FIRST_READING`].
    pub async fn follow(self, mut source: Source, readiness: Readiness, first: PendingTask) {
        let mut first = Some(first);
        let mut out_of_time = pin!(sleep(FIRST_READING));
        let mut problems = source.problems();
        loop {
            let complete = self.is_complete();
            if complete {
                first = None;
            }
            self.report(&problems.borrow_and_update(), &readiness);
            tokio::select! {
                changes = source.next_part(complete) => match changes {
                    Some(changes) => self.take_in(&changes),
                    None if complete => return,
                    None => self.complete(),
                },
                () = &mut out_of_time, if first.is_some() => first = None,
                Ok(()) = problems.changed() => {}
            }
        }
    }

    /// What an InterceptorRoute is scaled by.
    pub fn interceptor_route(&self, namespace: &str, name: &str) -> Option<Scaling> {
        self.state.lock().index.interceptor_route(namespace, name)
    }

    /// What an HTTPScaledObject is scaled by.
    pub fn http_scaled_object(&self, namespace: &str, name: &str) -> Option<Scaling> {
        self.state.lock().index.http_scaled_object(namespace, name)
    }

    /// Marks each change of what the scaler answers.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Whether all objects have been told: only then is one that is not known not there.
    pub fn is_complete(&self) -> bool {
        self.state.lock().complete
    }

    /// Where objects are looked for, to complete "not found".
    pub fn place(&self) -> String {
        match &self.origin {
            Origin::Directory(directory) => format!("in {}", directory.display()),
            Origin::Cluster => "in the cluster, as far as this scaler may read it".to_owned(),
            Origin::Nowhere => {
                "because this scaler reads no objects (KEDA_HTTP_MANIFESTS is not set, and no API server is known)"
                    .to_owned()
            }
        }
    }

    fn complete(&self) {
        self.state.lock().complete = true;
        self.changes.send_replace(());
    }

    fn take_in(&self, changes: &[Change]) {
        let news = {
            let mut state = self.state.lock();
            // Counted, not `any`: every change must be taken in.
            changes
                .iter()
                .filter(|change| !state.index.update(change).is_empty())
                .count()
                > 0
        };
        if news {
            self.changes.send_replace(());
        }
    }

    fn report(&self, problems: &[Problem], readiness: &Readiness) {
        let name = match &self.origin {
            Origin::Cluster => "objects",
            Origin::Directory(_) | Origin::Nowhere => "manifests",
        };
        let told = problems.iter().map(ToString::to_string);
        readiness.set_problems(name, told.collect());
    }
}
