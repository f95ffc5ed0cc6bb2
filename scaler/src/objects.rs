//! The scaling settings of InterceptorRoutes and HTTPScaledObjects, kept up to date.

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

/// The longest time for which unread objects keep the scaler unready: calls that need no object can be answered
/// without.
const FIRST_READING: Duration = Duration::from_secs(15);

/// Cheap to clone.
#[derive(Clone)]
pub struct ScalingObjects {
    state: Arc<Mutex<ObjectState>>,
    changes: watch::Sender<()>,
    origin: Origin,
}

#[derive(Default)]
struct ObjectState {
    index: ScalingIndex,
    /// Whether the source has delivered the initial state.
    complete: bool,
}

/// Where the objects come from.
#[derive(Clone)]
enum Origin {
    Nowhere,
    Directory(Arc<PathBuf>),
    Cluster,
}

impl ScalingObjects {
    /// Without any objects.
    pub fn none() -> Self {
        let objects = Self::new(Origin::Nowhere);
        objects.state.lock().complete = true;
        objects
    }

    /// The objects of the API server: none is known before [`ScalingObjects::follow`] runs.
    pub fn from_cluster() -> Self {
        Self::new(Origin::Cluster)
    }

    /// Reads a directory of manifests. The [`Source`] delivers later changes.
    ///
    /// # Errors
    /// When the directory cannot be read or watched, or a file in it is not valid.
    pub async fn open(directory: &Path) -> Result<(Self, Source), DirectoryError> {
        let mut source = directory::open(directory)?;
        let objects = Self::new(Origin::Directory(Arc::new(directory.to_owned())));
        while let Some(piece) = source.initial().await {
            objects.apply(&piece);
        }
        objects.complete();
        Ok((objects, source))
    }

    fn new(origin: Origin) -> Self {
        Self {
            state: Arc::default(),
            changes: watch::Sender::new(()),
            origin,
        }
    }

    /// Follows the source until it ends, and reports its problems. `first` is held until the initial state is complete,
    /// but no longer than [`FIRST_READING`].
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
                    Some(changes) => self.apply(&changes),
                    None if complete => return,
                    None => self.complete(),
                },
                () = &mut out_of_time, if first.is_some() => first = None,
                Ok(()) = problems.changed() => {}
            }
        }
    }

    /// The scaling settings of an InterceptorRoute.
    pub fn interceptor_route(&self, namespace: &str, name: &str) -> Option<Scaling> {
        self.state.lock().index.interceptor_route(namespace, name)
    }

    /// The scaling settings of an HTTPScaledObject.
    pub fn http_scaled_object(&self, namespace: &str, name: &str) -> Option<Scaling> {
        self.state.lock().index.http_scaled_object(namespace, name)
    }

    /// Notifies of each change of a scaling setting.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Whether the initial state is complete: only then does an object that is not known not exist.
    pub fn is_complete(&self) -> bool {
        self.state.lock().complete
    }

    /// Where the objects are from, for the message "not found ...".
    pub fn place(&self) -> String {
        match &self.origin {
            Origin::Directory(directory) => format!("in {}", directory.display()),
            Origin::Cluster => "in the cluster, as far as this scaler may read it".to_owned(),
            Origin::Nowhere => {
                "because this scaler reads no objects (KEDA_HTTP_MANIFESTS is not set, and there is no API server)"
                    .to_owned()
            }
        }
    }

    fn complete(&self) {
        self.state.lock().complete = true;
        self.changes.send_replace(());
    }

    fn apply(&self, changes: &[Change]) {
        let changed = {
            let mut state = self.state.lock();
            // Not `any`, because every change must be applied.
            changes
                .iter()
                .filter(|change| !state.index.update(change).is_empty())
                .count()
                > 0
        };
        if changed {
            self.changes.send_replace(());
        }
    }

    fn report(&self, problems: &[Problem], readiness: &Readiness) {
        let name = match &self.origin {
            Origin::Cluster => "objects",
            Origin::Directory(_) | Origin::Nowhere => "manifests",
        };
        let problems = problems.iter().map(ToString::to_string);
        readiness.set_problems(name, problems.collect());
    }
}
