//! What many wakes must keep, and what they are compared with.

use std::time::Duration;

use super::Wake;
use super::table::{milliseconds, percentile};

/// What the Go add-on takes on the same kind of machine, all in all, in the middle.
pub const GO_ADD_ON: Duration = Duration::from_millis(1710);
/// What our own share may be, in the middle.
pub const OWN_MEDIAN: Duration = Duration::from_millis(5);
/// What it may be in 99 of 100 wakes.
pub const OWN_P99: Duration = Duration::from_millis(25);
/// What the whole may be, in the middle.
pub const WHOLE_MEDIAN: Duration = Duration::from_millis(1350);

/// The goals that were missed, each with what was measured. What was not measured is missed.
pub fn missed(wakes: &[Wake]) -> Vec<String> {
    let own: Vec<Duration> = wakes.iter().filter_map(Wake::own_share).collect();
    let whole: Vec<Duration> = wakes.iter().filter_map(Wake::whole).collect();
    let goals = [
        ("our own share, median", percentile(&own, 50), OWN_MEDIAN),
        ("our own share, p99", percentile(&own, 99), OWN_P99),
        ("the whole, median", percentile(&whole, 50), WHOLE_MEDIAN),
    ];
    let missed = goals
        .into_iter()
        .filter(|(_, measured, goal)| measured.is_none_or(|measured| measured > *goal));
    missed
        .map(|(what, measured, goal)| verdict(what, measured, goal))
        .collect()
}

fn verdict(what: &str, measured: Option<Duration>, goal: Duration) -> String {
    let measured = measured.map_or_else(
        || "not measured".to_owned(),
        |measured| format!("{} ms", milliseconds(measured)),
    );
    format!("{what}: {measured}, goal {} ms", milliseconds(goal))
}

#[cfg(test)]
mod tests {
    use super::super::Point;
    use super::*;

    fn wake(own: u64, whole: u64) -> Wake {
        let at = Duration::from_millis;
        Wake {
            points: [
                (Point::Signal, at(own)),
                (Point::Ready, at(whole)),
                (Point::Received, at(whole)),
                (Point::Answered, at(whole)),
            ]
            .into(),
            status: 200,
        }
    }

    #[test]
    fn a_goal_is_missed_by_more_than_it_allows() {
        let kept = [wake(5, 1350), wake(25, 9000), wake(1, 900)];
        assert!(missed(&kept).is_empty(), "{:?}", missed(&kept));
        let slow = [wake(6, 1360), wake(26, 1400)];
        assert_eq!(
            missed(&slow),
            [
                "our own share, median: 6.0 ms, goal 5.0 ms",
                "our own share, p99: 26.0 ms, goal 25.0 ms",
                "the whole, median: 1360 ms, goal 1350 ms",
            ]
        );
    }

    #[test]
    fn what_was_not_measured_is_no_goal_reached() {
        let text = missed(&[]).join("; ");
        assert_eq!(text.matches("not measured").count(), 3, "{text}");
    }
}
