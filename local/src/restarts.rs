//! When a process that has ended by itself is started again.

use std::time::Duration;

use keda_http_runtime::backoff::Backoff;

/// A process that has run this long before it ended counts as healthy: its next pause is the first one.
pub const HEALTHY_AFTER: Duration = Duration::from_secs(60);

/// 1 s doubling to 30 s. Kubernetes starts at 10 s and goes up to 5 min; a developer looks at the terminal.
pub fn restart_backoff() -> Backoff {
    Backoff::new(Duration::from_secs(1), Duration::from_secs(30))
}
