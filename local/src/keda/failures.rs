//! When failed polls are reported: when they begin, when their reason changes, and when they end; not at a normal start.

use std::time::Duration;

use tokio::time::Instant;
use tonic::{Code, Status};

/// For how long after the start missing data is normal: the default window, 60 s, and the default polling interval, 30 s.
const START: Duration = Duration::from_secs(90);

#[derive(Debug)]
pub(super) struct Failures {
    started: Instant,
    /// Whether a poll has succeeded since the start.
    succeeded: bool,
    reported: Option<String>,
}

impl Failures {
    pub(super) fn new(started: Instant) -> Self {
        Self {
            started,
            succeeded: false,
            reported: None,
        }
    }

    /// What is to be printed after a poll.
    pub(super) fn after_poll(&mut self, failure: Option<&Status>, now: Instant) -> Option<String> {
        let Some(status) = failure else {
            self.succeeded = true;
            return self.reported.take().map(|_| "metrics are available again".to_owned());
        };
        let is_no_data = status.code() == Code::Unavailable;
        if is_no_data && !self.succeeded && now.saturating_duration_since(self.started) < START {
            return None;
        }
        let text = if is_no_data {
            format!("no data; replicas unchanged: {}", status.message())
        } else {
            format!(
                "the poll failed; replicas unchanged: {:?}: {}",
                status.code(),
                status.message()
            )
        };
        let is_new = self.reported.as_ref() != Some(&text);
        self.reported = Some(text.clone());
        is_new.then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_c11_a_normal_start_reports_nothing_and_later_each_reason_is_reported_once() {
        let start = Instant::now();
        let mut failures = Failures::new(start);
        let mut at =
            |seconds, failure: Option<&Status>| failures.after_poll(failure, start + Duration::from_secs(seconds));
        let no_data = Status::unavailable("i has not been ready for a whole window");
        let other = Status::internal("boom");
        assert_eq!(at(0, Some(&no_data)), None);
        assert_eq!(at(60, Some(&no_data)), None);
        assert_eq!(at(61, None), None);
        let text = "no data; replicas unchanged: i has not been ready for a whole window";
        assert_eq!(
            at(65, Some(&no_data)).as_deref(),
            Some(text),
            "not a normal start any more"
        );
        assert_eq!(at(70, Some(&no_data)), None);
        let text = "the poll failed; replicas unchanged: Internal: boom";
        assert_eq!(at(75, Some(&other)).as_deref(), Some(text));
        assert_eq!(at(80, None).as_deref(), Some("metrics are available again"));
        assert_eq!(at(85, None), None);
    }

    #[test]
    fn a_start_that_never_gets_data_and_any_other_failure_are_reported() {
        let start = Instant::now();
        let mut failures = Failures::new(start);
        let no_data = Status::unavailable("no interceptor is known");
        assert!(failures.after_poll(Some(&Status::internal("boom")), start).is_some());
        assert_eq!(failures.after_poll(Some(&no_data), start + START / 2), None);
        assert!(failures.after_poll(Some(&no_data), start + START).is_some());
    }
}
