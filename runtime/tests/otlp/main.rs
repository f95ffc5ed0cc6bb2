//! Spans and metrics leave the process for real receivers, and none of these can hold the process up.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "in tests a panic is how a failure is told"
)]

mod collector;
mod metrics;
mod spans;

use std::time::Duration;

/// What a bound may be overrun by on a busy machine.
const SLACK: Duration = Duration::from_secs(5);
