//! The `/scale` subresource of a Deployment: its desired number of replicas.

use std::sync::Arc;

use tokio::sync::watch;

/// Read and set by whoever scales, followed by the kubelet. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Scale {
    replicas: Arc<watch::Sender<u32>>,
}

impl Scale {
    pub fn new(replicas: u32) -> Self {
        Self {
            replicas: Arc::new(watch::Sender::new(replicas)),
        }
    }

    pub fn replicas(&self) -> u32 {
        *self.replicas.borrow()
    }

    pub fn set(&self, replicas: u32) {
        self.replicas
            .send_if_modified(|known| std::mem::replace(known, replicas) != replicas);
    }

    /// Whether both are the scale of one Deployment; a Deployment that was deleted and created again has another one.
    pub fn is_that_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.replicas, &other.replicas)
    }

    pub fn watch(&self) -> watch::Receiver<u32> {
        self.replicas.subscribe()
    }
}
