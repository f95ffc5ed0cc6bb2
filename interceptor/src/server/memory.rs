//! Returns memory to the system after a burst of connections.
//!
//! The allocator keeps freed memory for later use. That is right for everyday traffic, and wrong after ten thousand
//! held requests or after the first read of all objects: the pod's memory limit would have to fit the largest burst.

use std::time::Duration;

use keda_http_runtime::memory::give_back;
use tokio_util::task::TaskTracker;

/// How often the number of connections is checked.
const INTERVAL: Duration = Duration::from_secs(1);
/// The smallest burst that is worth the walk through the heap: a connection uses about 16 KB.
const BURST: usize = 1_000;

/// Watches the number of connections of all workers; never ends.
pub async fn release_after_bursts(connections: Vec<TaskTracker>) {
    let mut interval = tokio::time::interval(INTERVAL);
    let mut most = 0;
    loop {
        interval.tick().await;
        let open: usize = connections.iter().map(TaskTracker::len).sum();
        most = open.max(most);
        if most - open >= BURST {
            // Other threads that allocate may wait for milliseconds; the tasks of this thread must not.
            let _ = tokio::task::spawn_blocking(give_back).await;
            most = open;
        }
    }
}
