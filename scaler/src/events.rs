//! What people are told of an object by `kubectl describe`: Events, each once.

use std::collections::HashMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use keda_http_kubernetes::object::ObjectId;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::time::timeout;
use tracing::warn;

/// How long an Event may take: nothing waits longer for one.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Writes Events, as the scaler.
pub struct Events {
    client: Client,
    told: HashMap<(ObjectId, &'static str), String>,
}

impl Events {
    /// Nothing has been told yet.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            told: HashMap::new(),
        }
    }

    /// Something is wrong with an object. `reason` is a word such as `TriggerRefused`, `note` says what, and what to do.
    /// Told once for as long as it says the same.
    pub async fn warn(&mut self, id: &ObjectId, uid: Option<String>, reason: &'static str, note: String) {
        let key = (id.clone(), reason);
        if self.told.get(&key) == Some(&note) {
            return;
        }
        let about = About { id, uid };
        match publish(&self.client, about, EventType::Warning, reason, &note).await {
            Ok(()) => {
                self.told.insert(key, note);
            }
            Err(error) => warn!(object = %id, error, note, "an Event could not be written"),
        }
    }

    /// Nothing of this kind is wrong with it any more.
    pub fn settled(&mut self, id: &ObjectId, reason: &'static str) {
        self.told.remove(&(id.clone(), reason));
    }

    /// The object is gone.
    pub fn forget(&mut self, id: &ObjectId) {
        self.told.retain(|(known, _), _| known != id);
    }
}

/// The object that an Event is on.
pub struct About<'a> {
    /// Which.
    pub id: &'a ObjectId,
    /// Its UID, where it is known; `kubectl describe` finds Events by it.
    pub uid: Option<String>,
}

/// Writes one Event.
///
/// # Errors
/// When the API server refuses it, or does not answer.
pub async fn publish(
    client: &Client,
    about: About<'_>,
    type_: EventType,
    reason: &str,
    note: &str,
) -> Result<(), String> {
    let event = Event {
        type_,
        reason: reason.to_owned(),
        note: Some(shortened(note)),
        action: "Reconcile".to_owned(),
        secondary: None,
    };
    let object = ObjectReference {
        api_version: Some(about.id.kind.api_version().to_owned()),
        kind: Some(about.id.kind.name().to_owned()),
        namespace: Some(about.id.namespace.clone()),
        name: Some(about.id.name.clone()),
        uid: about.uid,
        ..ObjectReference::default()
    };
    let reporter = Reporter {
        controller: "keda-http-scaler".to_owned(),
        instance: None,
    };
    // A recorder that has told of the same reason before would only count the former note up.
    let recorder = Recorder::new(client.clone(), reporter);
    match timeout(TIMEOUT, recorder.publish(&event, &object)).await {
        Ok(published) => published.map_err(|error| error.to_string()),
        Err(_) => Err(format!("the API server did not answer within {TIMEOUT:?}")),
    }
}

/// Events take 1024 bytes, and nobody reads more in a condition.
pub fn shortened(note: &str) -> String {
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
mod tests {
    use super::*;

    #[test]
    fn a_long_note_is_cut_between_characters() {
        let note = "ä".repeat(600);
        let cut = shortened(&note);
        assert!(cut.len() <= 1024 && cut.ends_with('…'));
        assert_eq!(shortened("short"), "short");
    }
}
