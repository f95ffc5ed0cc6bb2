//! The listeners that the scaler's leader wants open, as it writes them down.

use keda_http_kubernetes::listeners::{self, CONFIG_MAP, Listeners};
use keda_http_kubernetes::source::Change;
use tokio::sync::watch;

use crate::routing::own_config_map::OwnConfigMap;

/// The listeners that the scaler wants, as last read. Cheap to clone.
#[derive(Clone)]
pub struct WantedListeners {
    written: OwnConfigMap,
    wanted: watch::Sender<Listeners>,
}

impl WantedListeners {
    /// Those that are recorded in this namespace.
    pub fn in_namespace(namespace: String) -> Self {
        Self {
            written: OwnConfigMap::new(namespace, CONFIG_MAP),
            wanted: watch::Sender::default(),
        }
    }

    /// What is wanted, and its changes.
    pub fn subscribe(&self) -> watch::Receiver<Listeners> {
        self.wanted.subscribe()
    }

    /// Applies a change; most are about something else.
    pub fn apply(&self, change: &Change) {
        let Some(config_map) = self.written.after(change) else {
            return;
        };
        let (wanted, problems) = config_map.map(listeners::read).unwrap_or_default();
        for problem in problems {
            tracing::warn!("{problem}");
        }
        self.set(wanted);
    }

    /// Replaces what is wanted.
    pub fn set(&self, wanted: Listeners) {
        self.wanted.send_if_modified(|now| {
            let changed = *now != wanted;
            if changed {
                *now = wanted;
            }
            changed
        });
    }
}
