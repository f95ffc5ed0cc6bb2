//! The ConfigMaps that responses take their bodies from, each published by itself: a change of one binds no route anew.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use keda_http_kubernetes::index::Index;
use keda_http_kubernetes::response_bodies::{Bodies, ConfigMapKey, LABEL, ResponseBodies};
use keda_http_kubernetes::source::Change;
use parking_lot::Mutex;

/// The ConfigMaps that routes refer to, as they are now.
#[derive(Default)]
pub(crate) struct PublishedBodies {
    known: ResponseBodies,
    referred: Mutex<HashMap<ConfigMapKey, Arc<Published>>>,
}

/// A ConfigMap that some response refers to.
#[derive(Default)]
pub(super) struct Published(ArcSwapOption<Bodies>);

impl Published {
    /// Its bodies; `None` while it is not there.
    pub(super) fn load(&self) -> Option<Arc<Bodies>> {
        self.0.load_full()
    }
}

impl PublishedBodies {
    /// Takes a change in; responses have it from now on.
    pub(crate) fn apply(&mut self, change: &Change) {
        for key in self.known.update(change) {
            if let Some(published) = self.referred.get_mut().get(&key) {
                published.0.store(self.known.get(&key));
            }
        }
    }

    /// A ConfigMap for a response that refers to it.
    pub(super) fn published(&self, key: &ConfigMapKey) -> Arc<Published> {
        let mut referred = self.referred.lock();
        let published = referred.entry(key.clone()).or_insert_with(|| {
            let published = Published::default();
            published.0.store(self.known.get(key));
            Arc::new(published)
        });
        published.clone()
    }

    /// Forgets those that no response refers to any more.
    pub(crate) fn drop_unused(&mut self) {
        self.referred
            .get_mut()
            .retain(|_, published| Arc::strong_count(published) > 1);
    }

    /// Those that are referred to and not there, for people.
    pub(crate) fn missing(&self) -> Vec<String> {
        let referred = self.referred.lock();
        let missing = referred.iter().filter(|(_, published)| published.0.load().is_none());
        let mut missing: Vec<String> = missing
            .map(|(ConfigMapKey { namespace, name }, _)| {
                format!("there is no ConfigMap {namespace}/{name} with the label {LABEL}: \"true\"; responses that need it are errors")
            })
            .collect();
        missing.sort();
        missing
    }
}
