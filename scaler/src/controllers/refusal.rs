//! Writes that the API server, or another webhook, refuses for one object: a problem of that object, not of the
//! controller.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use keda_http_kubernetes::object::ObjectId;
use keda_http_kubernetes::source::Change;
use keda_http_runtime::sleep;
use kube::Error;
use tokio::time::Instant;

use super::context::{Update, Updates};

/// The pause before a refused write is repeated: its cause may be another object that no update is received for, such
/// as a second ScaledObject for the same workload.
const RETRY: Duration = Duration::from_secs(30);

/// The message of an error that is caused by the written object; `None` for an error that any other request would have
/// got too, or that the next update of the object resolves.
pub fn refusal(error: &Error) -> Option<String> {
    match error {
        Error::Api(status) if matches!(status.code, 400 | 403 | 413 | 422) => Some(status.message.clone()),
        _ => None,
    }
}

pub enum Work {
    Changes(Arc<[Change]>),
    /// The writes of these objects were refused some time ago.
    Retry(BTreeSet<ObjectId>),
}

/// The objects for which a write was refused.
#[derive(Default)]
pub struct RefusedObjects {
    objects: BTreeSet<ObjectId>,
    retry_at: Option<Instant>,
}

impl RefusedObjects {
    pub fn insert(&mut self, id: ObjectId) {
        self.objects.insert(id);
        self.retry_at.get_or_insert_with(|| Instant::now() + RETRY);
    }

    /// The object was written or deleted.
    pub fn remove(&mut self, id: &ObjectId) {
        self.objects.remove(id);
    }

    /// The next work of a controller that handles each object by itself; `None` when its updates end.
    pub async fn next(&mut self, updates: &mut Updates) -> Option<Work> {
        tokio::select! {
            update = updates.recv() => Some(match update? {
                Update::Changed(changes) => Work::Changes(changes),
                Update::Complete => Work::Changes(Arc::default()),
            }),
            objects = self.due() => Some(Work::Retry(objects)),
        }
    }

    /// Waits until it is time to retry, for ever while nothing is refused.
    async fn due(&mut self) -> BTreeSet<ObjectId> {
        sleep::until(self.retry_at).await;
        self.retry_at = None;
        std::mem::take(&mut self.objects)
    }
}

#[cfg(test)]
mod tests {
    use keda_http_kubernetes::object::Kind;
    use kube::core::Status;

    use super::*;

    fn api(code: u16) -> Error {
        let status = Status {
            code,
            message: "no".to_owned(),
            ..Status::default()
        };
        Error::Api(Box::new(status))
    }

    fn id(name: &str) -> ObjectId {
        ObjectId {
            kind: Kind::ScaledObject,
            namespace: "shop".to_owned(),
            name: name.to_owned(),
        }
    }

    #[test]
    fn what_any_request_would_meet_is_no_refusal() {
        for code in [400, 403, 413, 422] {
            assert_eq!(refusal(&api(code)).as_deref(), Some("no"), "{code}");
        }
        for code in [401, 404, 409, 429, 500, 503] {
            assert_eq!(refusal(&api(code)), None, "{code}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_refused_is_due_once_after_the_pause_unless_it_was_taken() {
        let mut refused = RefusedObjects::default();
        let began = Instant::now();
        refused.insert(id("a"));
        refused.insert(id("b"));
        refused.remove(&id("b"));
        assert_eq!(refused.due().await, BTreeSet::from([id("a")]));
        assert_eq!(began.elapsed(), RETRY);
        tokio::select! {
            biased;
            _ = refused.due() => panic!("nothing is refused any more"),
            () = tokio::time::sleep(RETRY * 10) => {}
        }
    }
}
