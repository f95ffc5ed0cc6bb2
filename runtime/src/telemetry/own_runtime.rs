//! A runtime on a thread of its own.

use std::io;

use tokio::runtime::{Builder, Handle, Runtime};

/// What runs here disturbs nothing else. Dropping it waits for nothing (a name that does not resolve, for example), and
/// may happen inside another runtime, where the drop of a [`Runtime`] would panic.
#[derive(Debug)]
pub(super) struct OwnRuntime {
    pub(super) handle: Handle,
    /// Always there until the drop.
    runtime: Option<Runtime>,
}

impl OwnRuntime {
    pub(super) fn new(thread_name: &str) -> io::Result<Self> {
        let mut builder = Builder::new_multi_thread();
        let runtime = builder
            .worker_threads(1)
            .thread_name(thread_name)
            .enable_all()
            .build()?;
        Ok(Self {
            handle: runtime.handle().clone(),
            runtime: Some(runtime),
        })
    }
}

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
