//! Kubernetes Events on users' objects, as `kubectl describe` shows them. Each is published once, when it becomes true.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use keda_http_kubernetes::object::ObjectId;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::time::{Instant, timeout};

/// The longest time that one Event may take: nothing else waits longer for it.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long a warning about the state of several objects must hold before it is published. Their watches lag behind
/// each other, so a Service that was applied together with its ScaledObject is missing for a moment.
const SETTLE_TIME: Duration = Duration::from_secs(5);

/// The object that an Event is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ObjectRef {
    pub(crate) id: ObjectId,
    /// `kubectl describe` finds Events by the UID.
    pub(crate) uid: Option<String>,
}

impl ObjectRef {
    pub(crate) fn new(id: ObjectId, metadata: &ObjectMeta) -> Self {
        Self {
            id,
            uid: metadata.uid.clone(),
        }
    }
}

/// The content of an Event.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Notice {
    pub(crate) about: ObjectRef,
    /// Whether a user has to do something.
    pub(crate) warning: bool,
    /// One word in CamelCase, for programs.
    pub(crate) reason: &'static str,
    /// What is the case, and what to do.
    pub(crate) message: String,
}

/// Publishes Events as the scaler.
pub(crate) struct Events {
    client: Client,
    notices: Notices,
    /// Whether the last Event could not be written, so that this is logged once.
    failing: bool,
}

/// Which notices hold, and which of them have been published.
#[derive(Debug, Default)]
struct Notices {
    published: BTreeSet<Notice>,
    /// Since when there is a warning with this reason about this object.
    warnings: BTreeMap<(ObjectId, &'static str), Instant>,
    /// Whether a complete set of notices has been seen.
    initialized: bool,
}

impl Notice {
    pub(crate) fn warning(about: &ObjectRef, reason: &'static str, message: String) -> Self {
        Self {
            about: about.clone(),
            warning: true,
            reason,
            message,
        }
    }

    /// For information only.
    pub(crate) fn normal(about: &ObjectRef, reason: &'static str, message: String) -> Self {
        Self {
            warning: false,
            ..Self::warning(about, reason, message)
        }
    }

    fn key(&self) -> (ObjectId, &'static str) {
        (self.about.id.clone(), self.reason)
    }
}

impl Events {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            notices: Notices::default(),
            failing: false,
        }
    }

    /// Publishes a warning about one object, unless the last one with this reason says the same.
    pub(crate) async fn warn(&mut self, about: &ObjectRef, reason: &'static str, message: String) {
        let notice = Notice::warning(about, reason, message);
        if self.notices.published.contains(&notice) {
            return;
        }
        self.resolve(&about.id, reason);
        if self.publish(&notice).await {
            self.notices.published.insert(notice);
        }
    }

    /// The object no longer has a problem with this reason.
    pub(crate) fn resolve(&mut self, id: &ObjectId, reason: &'static str) {
        let published = &mut self.notices.published;
        published.retain(|notice| notice.about.id != *id || notice.reason != reason);
    }

    /// The object was deleted.
    pub(crate) fn forget(&mut self, id: &ObjectId) {
        self.notices.published.retain(|notice| notice.about.id != *id);
    }

    /// Publishes what is new in the complete set of notices that hold now. A notice that no longer holds is published
    /// again when it comes back. A warning is published when it has held for [`SETTLE_TIME`].
    pub(crate) async fn replace_all(&mut self, notices: Vec<Notice>) {
        let notices = notices.into_iter().collect();
        for notice in self.notices.replace_all(notices, Instant::now()) {
            tracing::info!(object = %notice.about.id, reason = notice.reason, "{}", notice.message);
            self.publish(&notice).await;
        }
    }

    /// When [`Events::replace_all`] must be called again although nothing changed, because a warning will have settled.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.notices.deadline()
    }

    async fn publish(&mut self, notice: &Notice) -> bool {
        let published = publish(&self.client, notice).await;
        if let Err(error) = &published
            && !self.failing
        {
            let (object, message) = (&notice.about.id, &notice.message);
            tracing::warn!(%object, error, message, "cannot write Events; their messages are in the log only");
        }
        self.failing = published.is_err();
        !self.failing
    }
}

impl Notices {
    /// Takes the notices that hold now, and returns those to publish. The first time only warnings are returned: the
    /// leader before this one has published the rest.
    fn replace_all(&mut self, current: BTreeSet<Notice>, now: Instant) -> Vec<Notice> {
        let mut warnings = BTreeMap::new();
        for notice in current.iter().filter(|notice| notice.warning) {
            let since = self.warnings.get(&notice.key()).copied().unwrap_or(now);
            warnings.insert(notice.key(), since);
        }
        self.warnings = warnings;
        self.published.retain(|notice| current.contains(notice));
        let initialized = std::mem::replace(&mut self.initialized, true);
        let mut due = Vec::new();
        for notice in current {
            let settled = self
                .warnings
                .get(&notice.key())
                .is_none_or(|since| now >= *since + SETTLE_TIME);
            if settled && self.published.insert(notice.clone()) && (notice.warning || initialized) {
                due.push(notice);
            }
        }
        due
    }

    /// When the first warning settles that has not been published; in the past when it has settled already.
    fn deadline(&self) -> Option<Instant> {
        let published: BTreeSet<_> = self.published.iter().map(Notice::key).collect();
        let pending = self.warnings.iter().filter(|(key, _)| !published.contains(key));
        pending.map(|(_, since)| *since + SETTLE_TIME).min()
    }
}

async fn publish(client: &Client, notice: &Notice) -> Result<(), String> {
    let ObjectRef { id, uid } = &notice.about;
    let event = Event {
        type_: match notice.warning {
            true => EventType::Warning,
            false => EventType::Normal,
        },
        reason: notice.reason.to_owned(),
        note: Some(shorten(&notice.message)),
        action: "Reconcile".to_owned(),
        secondary: None,
    };
    let object = ObjectReference {
        api_version: Some(id.kind.api_version().to_owned()),
        kind: Some(id.kind.name().to_owned()),
        namespace: Some(id.namespace.clone()),
        name: Some(id.name.clone()),
        uid: uid.clone(),
        ..ObjectReference::default()
    };
    let reporter = Reporter {
        controller: "keda-http-scaler".to_owned(),
        instance: None,
    };
    // A recorder that has published an Event with the same reason before would only increase the count of the old note.
    let recorder = Recorder::new(client.clone(), reporter);
    match timeout(TIMEOUT, recorder.publish(&event, &object)).await {
        Ok(published) => published.map_err(|error| error.to_string()),
        Err(_) => Err(format!("the API server did not answer within {TIMEOUT:?}")),
    }
}

/// Kubernetes allows 1024 bytes in the note of an Event.
pub(crate) fn shorten(note: &str) -> String {
    const MOST: usize = 1000;
    if note.len() <= MOST {
        return note.to_owned();
    }
    let end = (0..=MOST)
        .rev()
        .find(|end| note.is_char_boundary(*end))
        .unwrap_or_default();
    format!("{}…", &note[..end])
}

#[cfg(test)]
mod tests;
