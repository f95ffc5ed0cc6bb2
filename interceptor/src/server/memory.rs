//! Gives memory back to the system when a crowd has left.
//!
//! The allocator keeps what was freed for later. That is right for the traffic of every day, and wrong after ten
//! thousand held requests or after the first reading of all objects: a limit on the pod's memory would have to be as
//! large as the largest crowd.

use std::time::Duration;

use keda_http_runtime::memory::give_back;
use tokio_util::task::TaskTracker;

/// How often the number of connections is looked at.
const INTERVAL: Duration = Duration::from_secs(1);
/// Fewer connections than this are not worth the walk through the heap (about 16 KB each).
const CROWD: usize = 1_000;

/// Looks after the connections of all workers, for ever.
pub async fn give_back_after_crowds(connections: Vec<TaskTracker>) {
    let mut interval = tokio::time::interval(INTERVAL);
    let mut most = 0;
    loop {
        interval.tick().await;
        let open: usize = connections.iter().map(TaskTracker::len).sum();
        most = open.max(most);
        if most - open >= CROWD {
            // Other threads that allocate may wait for milliseconds; the walk itself is no work for this thread's tasks.
            let _ = tokio::task::spawn_blocking(give_back).await;
            most = open;
        }
    }
}
