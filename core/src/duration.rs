//! Go's duration notation (`time.ParseDuration`), which upstream's environment, objects and trigger metadata use.

use std::time::Duration;

/// A text that is no Go duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no duration; allowed: a number with a unit, such as 500ms, 1.5s, 1m30s or 2h (units ns, us, ms, s, m, h)")]
pub struct InvalidDuration(pub String);

/// Reads a Go duration that is not negative: `0`, `500ms`, `1.5s`, `1m30s`. Precise to the nanosecond.
pub fn parse(text: &str) -> Result<Duration, InvalidDuration> {
    let _ = text;
    todo!()
}

/// Writes a duration as Go does (`1m30s`, `500ms`), for messages and `/config`.
pub fn format(duration: Duration) -> String {
    let _ = duration;
    todo!()
}
