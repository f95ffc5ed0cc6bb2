use super::reach::RESTORING;
use super::*;

mod model;
mod steady;

const RETENTION: Duration = Duration::from_secs(30);
const SECOND: Duration = Duration::from_secs(1);

/// A gap of half of it counts, and after one everything is unsettled for so long and [`RESTORING`].
const DEBOUNCE: Duration = SECOND;

fn new() -> Demand {
    Demand::new(RETENTION, DEBOUNCE)
}

fn reach(names: &[&str]) -> HashSet<String> {
    names.iter().map(ToString::to_string).collect()
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn key() -> TargetKey {
    TargetKey::object("shop", "api")
}

fn target(arrivals: u64, pending: u64) -> TargetReport {
    TargetReport {
        key: key(),
        arrivals,
        pending,
        waiting: 0,
        starting: false,
        pending_nanos: None,
        recent_arrivals: Vec::new(),
    }
}

fn report(boot: &str, uptime: u64, targets: Vec<TargetReport>) -> Report {
    Report {
        boot: Some(boot.to_owned()),
        uptime: at(uptime),
        complete: true,
        targets,
        removed: Vec::new(),
    }
}

fn queue(targets: Vec<TargetReport>) -> Report {
    Report {
        boot: None,
        ..report("", 0, targets)
    }
}

/// All arrivals since the origin and up to an hour before.
fn arrived(demand: &Demand, now: Duration) -> f64 {
    match demand.rate(&key(), at(7200), at(7200), now) {
        Reading::Known(rate) => rate,
        Reading::NoData => panic!("no data"),
    }
}

fn integrated(arrivals: u64, pending: u64, request_seconds: u64) -> TargetReport {
    TargetReport {
        pending_nanos: Some(request_seconds * 1_000_000_000),
        ..target(arrivals, pending)
    }
}

#[test]
fn no_data_is_not_zero() {
    let mut demand = new();
    assert_eq!(demand.concurrency(&key(), at(1)), Reading::NoData);
    assert_eq!(demand.rate(&key(), SECOND, SECOND, at(1)), Reading::NoData);
    assert_eq!(demand.is_active(&key(), SECOND, at(1)), Reading::NoData);
    assert_eq!(demand.waiting(&key(), at(1)), Reading::NoData);
    assert_eq!(demand.total_concurrency(at(1)), Reading::NoData);

    demand.observe("a", report("1", 1, vec![]), at(1));
    assert_eq!(demand.concurrency(&key(), at(1)), Reading::Known(0.0));
    assert_eq!(demand.rate(&key(), SECOND, SECOND, at(1)), Reading::Known(0.0));
    assert_eq!(demand.is_active(&key(), SECOND, at(1)), Reading::Known(false));
    assert_eq!(demand.waiting(&key(), at(1)), Reading::Known(0));
    assert_eq!(demand.total_concurrency(at(1)), Reading::Known(0.0));
}

#[test]
fn without_a_reachable_interceptor_only_pending_requests_are_known() {
    let mut demand = new();
    demand.set_reachable(reach(&["b"]), at(1));
    assert_eq!(demand.is_active(&key(), SECOND, at(1)), Reading::NoData);
    demand.observe("a", report("1", 100, vec![target(1, 1)]), at(1));
    assert_eq!(demand.is_active(&key(), SECOND, at(1)), Reading::Known(true));
    assert_eq!(demand.waiting(&key(), at(1)), Reading::Known(0));
    assert_eq!(demand.is_anything_pending(at(1)), Reading::Known(true));
    assert_eq!(
        demand.concurrency(&key(), at(1)),
        Reading::NoData,
        "it becomes less and less"
    );
    assert_eq!(demand.total_concurrency(at(1)), Reading::NoData);
    assert_eq!(demand.rate(&key(), SECOND, SECOND, at(1)), Reading::NoData);
    demand.observe("a", report("1", 101, vec![target(1, 0)]), at(2));
    assert_eq!(demand.is_active(&key(), SECOND, at(60)), Reading::NoData);
    assert_eq!(demand.waiting(&key(), at(60)), Reading::NoData);
    assert_eq!(demand.is_anything_pending(at(60)), Reading::NoData);

    demand.set_reachable(reach(&["a"]), at(60));
    assert_eq!(
        demand.is_active(&key(), at(30), at(60)),
        Reading::Known(false),
        "no gap"
    );
    assert_eq!(demand.total_concurrency(at(60)), Reading::Known(0.0));
}

#[test]
fn after_a_gap_a_target_is_inactive_only_when_a_whole_window_has_been_seen() {
    let mut demand = new();
    demand.set_reachable(reach(&["a"]), at(1));
    demand.observe("a", report("1", 100, vec![target(0, 0)]), at(1));
    assert_eq!(demand.is_active(&key(), at(30), at(1)), Reading::Known(false));
    demand.set_reachable(HashSet::new(), at(10));
    demand.set_reachable(reach(&["a"]), at(100));
    let settled = at(100) + DEBOUNCE + RESTORING;
    assert_eq!(demand.is_active(&key(), at(30), settled + at(29)), Reading::NoData);
    assert_eq!(
        demand.is_active(&key(), at(30), settled + at(30)),
        Reading::Known(false)
    );
}

#[test]
fn a_gap_shorter_than_half_of_the_debounce_is_none_and_does_not_undo_one_before() {
    let mut demand = new();
    demand.set_reachable(reach(&["a"]), at(1));
    demand.observe("a", report("1", 100, vec![target(0, 0)]), at(1));
    let mut gap = |from: Duration, length: Duration| {
        demand.set_reachable(HashSet::new(), from);
        demand.set_reachable(HashSet::new(), from + length);
        demand.set_reachable(reach(&["a"]), from + length);
        demand.is_active(&key(), at(10), from + at(20))
    };
    let short = DEBOUNCE / 2 - Duration::from_millis(1);
    assert_eq!(gap(at(100), short), Reading::Known(false));
    assert_eq!(gap(at(190), DEBOUNCE / 2), Reading::Known(false), "it is over");
    assert_eq!(
        demand.is_active(&key(), at(10), at(201)),
        Reading::NoData,
        "not settled for ten seconds"
    );
    demand.set_reachable(HashSet::new(), at(201));
    demand.set_reachable(reach(&["a"]), at(201) + short);
    assert_eq!(demand.is_active(&key(), at(10), at(205)), Reading::NoData);
    assert_eq!(demand.is_active(&key(), at(10), at(207)), Reading::Known(false));
}

#[test]
fn a_scaler_that_has_just_started_trusts_what_an_interceptor_has_run_long_enough_to_see() {
    let mut demand = new();
    demand.set_reachable(reach(&["young", "old"]), at(0));
    demand.observe("young", report("1", 20, vec![]), at(1));
    assert_eq!(demand.is_active(&key(), at(20), at(1)), Reading::Known(false));
    assert_eq!(demand.is_active(&key(), at(60), at(1)), Reading::NoData);
    demand.observe("old", report("1", 60, vec![]), at(1));
    assert_eq!(demand.is_active(&key(), at(60), at(1)), Reading::Known(false));
    demand.set_reachable(reach(&["young"]), at(2));
    assert_eq!(demand.is_active(&key(), at(60), at(40)), Reading::NoData);
    assert_eq!(demand.is_active(&key(), at(60), at(41)), Reading::Known(false));
}

#[test]
fn a_scaler_that_starts_within_a_gap_remembers_it() {
    let mut demand = new();
    demand.set_reachable(HashSet::new(), at(0));
    demand.observe("a", report("1", 9999, vec![]), at(0));
    demand.set_reachable(reach(&["a"]), at(0));
    let settled = DEBOUNCE + RESTORING;
    assert_eq!(demand.is_active(&key(), at(30), settled + at(29)), Reading::NoData);
    assert_eq!(
        demand.is_active(&key(), at(30), settled + at(30)),
        Reading::Known(false)
    );
}

#[test]
fn a_peer_without_boot_is_trusted_once_it_has_been_heard_for_a_window() {
    let mut demand = new();
    demand.observe("a", queue(vec![]), at(1));
    assert_eq!(demand.is_active(&key(), at(10), at(10)), Reading::NoData);
    demand.observe("b", queue(vec![]), at(10));
    assert_eq!(demand.is_active(&key(), at(10), at(11)), Reading::Known(false));
}

#[test]
fn a_gap_is_in_no_rate_and_in_no_concurrency() {
    let mut demand = new();
    demand.set_reachable(reach(&["a"]), at(0));
    demand.observe("a", report("1", 100, vec![target(0, 0)]), at(0));
    for second in 1..=40_u64 {
        demand.observe(
            "a",
            report("1", 100 + second, vec![target(second * 10, 10)]),
            at(second),
        );
    }
    assert_eq!(demand.rate(&key(), at(40), SECOND, at(40)), Reading::Known(10.0));
    demand.set_reachable(HashSet::new(), at(40));
    assert_eq!(demand.rate(&key(), at(60), SECOND, at(41)), Reading::NoData);
    demand.observe("a", report("1", 141, vec![target(400, 1)]), at(41));
    assert_eq!(demand.concurrency(&key(), at(41)), Reading::NoData);
    demand.set_reachable(reach(&["a"]), at(50));
    let settled = at(50) + DEBOUNCE + RESTORING;
    for second in 51..=61 {
        demand.observe(
            "a",
            report("1", 100 + second, vec![target(400 + (second - 50) * 10, 10)]),
            at(second),
        );
    }
    assert_eq!(demand.concurrency(&key(), settled), Reading::NoData);
    assert_eq!(demand.rate(&key(), at(60), SECOND, settled), Reading::NoData);
    assert_eq!(
        demand.rate(&key(), at(60), SECOND, settled + SECOND),
        Reading::Known(10.0),
        "not an average with the gap"
    );
    assert_eq!(demand.rate(&key(), at(60), SECOND, at(61)), Reading::Known(10.0));
    assert_eq!(demand.rate(&key(), at(60), at(10), at(61)), Reading::NoData);
    assert_eq!(demand.concurrency(&key(), at(61)), Reading::Known(10.0));
}

#[test]
fn the_first_report_fills_the_window_with_the_ages_it_tells() {
    let mut demand = new();
    let seen = TargetReport {
        recent_arrivals: vec![1, 2, 3],
        ..target(1_000_000, 0)
    };
    // The scaler has just started: the ages go back beyond its own origin.
    demand.observe("a", report("1", 9999, vec![seen]), at(1));
    assert_eq!(demand.rate(&key(), at(3), SECOND, at(1)), Reading::Known(2.0));
    assert_eq!(
        demand.rate(&key(), at(1), SECOND, at(1)),
        Reading::Known(3.0),
        "the second that has just begun, and all of the one before"
    );
}

#[test]
fn arrivals_of_unknown_age_count_only_when_the_interceptor_is_younger_than_its_history() {
    for (uptime, expected) in [(3, 10.0), (4, 6.0)] {
        let mut demand = new();
        let seen = TargetReport {
            recent_arrivals: vec![1, 2, 3],
            ..target(10, 0)
        };
        demand.observe("a", report("1", uptime, vec![seen]), at(100));
        assert!((arrived(&demand, at(100)) - expected).abs() < 1e-9, "uptime {uptime}");
    }
}

#[test]
fn only_arrivals_since_the_last_report_count() {
    let mut demand = new();
    demand.observe("a", report("1", 100, vec![target(50, 0)]), at(1));
    demand.observe("a", report("1", 101, vec![target(53, 0)]), at(2));
    demand.observe("a", report("1", 102, vec![target(53, 0)]), at(3));
    assert!((arrived(&demand, at(3)) - 3.0).abs() < 1e-9);
}

#[test]
fn a_restarted_interceptor_counts_in_full_even_when_its_counters_are_higher() {
    let mut demand = new();
    demand.observe("a", report("1", 100, vec![target(5, 4)]), at(1));
    demand.observe("a", report("2", 1, vec![target(8, 0)]), at(2));
    assert!((arrived(&demand, at(2)) - 8.0).abs() < 1e-9);
    assert_eq!(
        demand.concurrency(&key(), at(2)),
        Reading::Known(0.0),
        "what was pending died with it"
    );
}

#[test]
fn a_report_overtaken_by_a_newer_one_changes_nothing() {
    let mut demand = new();
    demand.observe("a", report("1", 100, vec![target(5, 1)]), at(1));
    assert!(
        demand
            .observe("a", report("1", 99, vec![target(3, 0)]), at(1))
            .is_empty()
    );
    assert_eq!(demand.concurrency(&key(), at(1)), Reading::Known(1.0));
    assert!(arrived(&demand, at(1)).abs() < 1e-9);
}

#[test]
fn arrivals_of_a_long_outage_do_not_all_count_as_of_now() {
    let mut demand = new();
    demand.observe("a", report("1", 100, vec![target(0, 0)]), at(100));
    demand.disconnect("a", at(100));
    let after = TargetReport {
        recent_arrivals: vec![10; 60],
        ..target(3000, 0)
    };
    demand.observe("a", report("1", 400, vec![after]), at(400));
    // The reported seconds, and of the rest, which lies between 59 and 300 seconds ago, the last of 241 seconds.
    let expected = (600.0 + 2400.0 / 241.0) / 60.0;
    assert_eq!(demand.rate(&key(), at(60), SECOND, at(400)), Reading::Known(expected));
    assert!((arrived(&demand, at(400)) - 3000.0).abs() < 1e-9, "none is lost");
}

#[test]
fn a_short_loss_of_the_stream_counts_nothing_twice() {
    let mut demand = new();
    let recent = |arrivals: u64, newest: u32| TargetReport {
        recent_arrivals: vec![newest, 5, 5],
        ..target(arrivals, 0)
    };
    demand.observe("a", report("1", 100, vec![recent(15, 5)]), at(100));
    demand.disconnect("a", at(100));
    demand.observe("a", report("1", 101, vec![recent(17, 2)]), at(101));
    assert!((arrived(&demand, at(101)) - 17.0).abs() < 1e-9);
    // Nor does it when the interceptor had left the list for a moment.
    demand.forget("a");
    demand.observe("a", report("1", 102, vec![recent(18, 1)]), at(102));
    assert!((arrived(&demand, at(102)) - 18.0).abs() < 1e-9);
}

#[test]
fn the_first_sight_of_a_queue_peer_is_a_baseline_but_pending_is_activity() {
    let mut demand = new();
    demand.observe("a", queue(vec![target(1000, 0)]), at(1));
    assert_eq!(
        demand.is_active(&key(), at(60), at(1)),
        Reading::NoData,
        "nor is what was before"
    );
    demand.observe("b", queue(vec![target(1000, 1)]), at(1));
    assert_eq!(demand.is_active(&key(), at(60), at(1)), Reading::Known(true));
    assert!(arrived(&demand, at(1)).abs() < 1e-9);
}

#[test]
fn a_lower_count_of_a_queue_peer_is_a_restart() {
    let mut demand = new();
    demand.observe("a", queue(vec![target(1000, 0)]), at(1));
    demand.observe("a", queue(vec![target(4, 0)]), at(2));
    assert!((arrived(&demand, at(2)) - 4.0).abs() < 1e-9);
}

#[test]
fn the_first_request_of_a_new_route_activates() {
    for first in [queue(vec![]), report("1", 100, vec![])] {
        let mut demand = new();
        let second = Report {
            targets: vec![target(1, 0)],
            ..first.clone()
        };
        demand.observe("a", first, at(1));
        demand.observe("a", second, at(2));
        assert_eq!(demand.is_active(&key(), at(60), at(2)), Reading::Known(true));
    }
}

#[test]
fn a_short_peak_raises_the_mean_for_ten_seconds() {
    let mut demand = new();
    demand.observe("a", report("1", 100, vec![integrated(0, 0, 50)]), at(1));
    demand.observe("a", report("1", 110, vec![integrated(9, 9, 50)]), at(11));
    demand.observe("a", report("1", 112, vec![integrated(9, 0, 68)]), at(13));
    assert_eq!(demand.concurrency(&key(), at(13)), Reading::Known(1.8));
    assert_eq!(demand.concurrency(&key(), at(21)), Reading::Known(1.8));
    assert_eq!(demand.concurrency(&key(), at(22)), Reading::Known(0.9));
    assert_eq!(demand.concurrency(&key(), at(23)), Reading::Known(0.0));
}

#[test]
fn now_counts_when_it_is_more_than_the_mean_and_goes_on_while_nothing_is_heard() {
    let mut demand = new();
    demand.observe("a", report("1", 100, vec![integrated(0, 0, 0)]), at(1));
    demand.observe("a", report("1", 110, vec![integrated(4, 4, 0)]), at(11));
    assert_eq!(demand.concurrency(&key(), at(12)), Reading::Known(4.0));
    assert_eq!(demand.concurrency(&key(), at(500)), Reading::Known(4.0));
    demand.observe("b", report("1", 110, vec![integrated(3, 3, 0)]), at(500));
    assert_eq!(demand.concurrency(&key(), at(500)), Reading::Known(7.0));
    assert_eq!(demand.total_concurrency(at(500)), Reading::Known(7.0));
}

#[test]
fn anything_is_pending_while_something_is_and_for_ten_seconds_after() {
    let mut demand = new();
    assert_eq!(demand.is_anything_pending(at(1)), Reading::NoData);
    let other = |pending| TargetReport {
        key: TargetKey::object("shop", "other"),
        ..target(0, pending)
    };
    demand.observe("a", report("1", 1, vec![target(0, 0), other(u64::MAX)]), at(1));
    demand.observe("b", report("1", 1, vec![target(0, 2)]), at(1));
    assert_eq!(demand.is_anything_pending(at(500)), Reading::Known(true));
    demand.observe("a", report("1", 2, vec![target(0, 3), other(0)]), at(2));
    demand.observe("b", report("1", 2, vec![target(0, 0)]), at(2));
    assert_eq!(demand.is_anything_pending(at(500)), Reading::Known(true), "three at a");
    // A target that is no longer named has none pending.
    demand.observe("a", report("1", 3, vec![other(0)]), at(3));
    assert_eq!(demand.is_anything_pending(at(12)), Reading::Known(true));
    assert_eq!(demand.is_anything_pending(at(14)), Reading::Known(false));
    // Short ones, which no report has ever seen pending, leave their time behind.
    demand.observe("a", report("1", 20, vec![integrated(0, 0, 0)]), at(20));
    assert_eq!(demand.is_anything_pending(at(20)), Reading::Known(false));
    demand.observe("a", report("1", 21, vec![integrated(9, 0, 1)]), at(21));
    assert_eq!(demand.is_anything_pending(at(31)), Reading::Known(true));
    assert_eq!(demand.is_anything_pending(at(32)), Reading::Known(false));
    // A restart begins anew.
    demand.observe("a", report("1", 40, vec![target(9, 4)]), at(40));
    demand.observe("a", report("2", 1, vec![target(0, 0)]), at(41));
    assert_eq!(demand.is_anything_pending(at(41)), Reading::Known(false));
}

#[test]
fn the_integral_may_wrap_and_a_torn_one_is_clamped() {
    let mut demand = new();
    let integral = |nanos: u64| TargetReport {
        pending_nanos: Some(nanos),
        ..target(0, 0)
    };
    demand.observe("a", report("1", 100, vec![integral(u64::MAX - 1_999_999_999)]), at(1));
    demand.observe("a", report("1", 102, vec![integral(2_000_000_000)]), at(3));
    assert_eq!(demand.concurrency(&key(), at(3)), Reading::Known(2.0));
    demand.observe("b", report("1", 100, vec![integral(500)]), at(3));
    demand.observe("b", report("1", 101, vec![integral(499)]), at(4));
    demand.forget("a");
    assert_eq!(demand.concurrency(&key(), at(4)), Reading::Known(0.0));
}

#[test]
fn a_report_without_its_integral_does_not_mix_two_clocks() {
    // The scaler's clock is far ahead of the interceptor's, then far behind.
    for start in [1_000, 1] {
        let mut demand = new();
        let partly = target(8, 8);
        demand.observe("a", report("1", 100, vec![integrated(8, 8, 50)]), at(start));
        demand.observe("a", report("1", 104, vec![partly]), at(start + 4));
        demand.observe("a", report("1", 105, vec![integrated(8, 0, 90)]), at(start + 5));
        assert_eq!(
            demand.concurrency(&key(), at(start + 5)),
            Reading::Known(8.0),
            "{start}"
        );
        assert_eq!(
            demand.concurrency(&key(), at(start + 10)),
            Reading::Known(4.0),
            "{start}"
        );
    }
}

#[test]
fn a_lost_interceptor_counts_until_the_retention_has_passed() {
    let mut demand = new();
    demand.observe("a", report("1", 100, vec![target(1, 2)]), at(1));
    demand.disconnect("a", at(10));
    demand.disconnect("a", at(20));
    assert_eq!(demand.concurrency(&key(), at(39)), Reading::Known(2.0));
    assert_eq!(demand.concurrency(&key(), at(40)), Reading::NoData);
    demand.observe("b", report("1", 100, vec![]), at(40));
    assert_eq!(demand.concurrency(&key(), at(40)), Reading::Known(0.0));
    assert_eq!(demand.is_active(&key(), at(1), at(40)), Reading::Known(false));
}

#[test]
fn a_forgotten_interceptor_counts_no_more_but_its_arrivals_stay() {
    let mut demand = new();
    demand.observe("a", report("1", 1, vec![target(3, 2)]), at(1));
    demand.observe("b", report("1", 1, vec![]), at(1));
    assert_eq!(demand.forget("a"), [key()]);
    assert!(demand.forget("nobody").is_empty());
    assert_eq!(demand.concurrency(&key(), at(1)), Reading::Known(0.0));
    assert!((arrived(&demand, at(1)) - 3.0).abs() < 1e-9);
    demand.forget("b");
    assert_eq!(demand.concurrency(&key(), at(1)), Reading::NoData);
}

#[test]
fn targets_that_the_interceptor_no_longer_knows_lose_what_is_pending() {
    let missing = report("1", 2, vec![]);
    let removed = Report {
        complete: false,
        removed: vec![key(), TargetKey::object("shop", "unheard-of")],
        ..report("1", 2, vec![])
    };
    for ending in [missing, removed] {
        let mut demand = new();
        assert_eq!(demand.observe("a", report("1", 1, vec![target(3, 2)]), at(1)), [key()]);
        assert_eq!(demand.observe("a", ending, at(2)), [key()]);
        assert_eq!(demand.concurrency(&key(), at(2)), Reading::Known(0.0));
        assert_eq!(
            demand.is_active(&key(), at(10), at(2)),
            Reading::Known(true),
            "it has just arrived"
        );
    }
}

#[test]
fn targets_not_named_in_a_partial_report_stay_as_they_were() {
    let mut demand = new();
    demand.observe("a", report("1", 1, vec![target(3, 2)]), at(1));
    let partial = Report {
        complete: false,
        ..report("1", 2, vec![])
    };
    assert!(demand.observe("a", partial, at(2)).is_empty());
    assert_eq!(demand.concurrency(&key(), at(2)), Reading::Known(2.0));
}

#[test]
fn old_reports_and_windows_are_dropped_and_others_are_kept() {
    let mut demand = new();
    demand.observe("a", report("1", 1, vec![target(1, 0)]), at(1));
    demand.observe("b", report("1", 1, vec![]), at(1));
    demand.expire(at(100_000));
    assert_eq!(
        demand.targets.keys().collect::<Vec<_>>(),
        [&key()],
        "a live interceptor still names it"
    );
    demand.forget("a");
    demand.expire(at(100_001));
    assert_eq!(demand.targets.len(), 0);
    assert_eq!(demand.interceptors.len(), 1);
    assert_eq!(demand.concurrency(&key(), at(100_001)), Reading::Known(0.0));
}

#[test]
fn fault_c8_a_target_stays_active_while_it_starts_though_its_callers_have_left() {
    let mut demand = new();
    let starting = |starting| TargetReport {
        starting,
        ..target(1, 0)
    };
    demand.observe("a", report("1", 100, vec![starting(true)]), at(1));
    demand.observe("b", report("1", 100, vec![starting(false)]), at(1));
    assert_eq!(demand.is_active(&key(), SECOND, at(600)), Reading::Known(true));
    assert_eq!(demand.concurrency(&key(), at(600)), Reading::Known(0.0));
    // A restarted interceptor holds nothing.
    demand.observe("a", report("2", 0, vec![]), at(600));
    assert_eq!(demand.is_active(&key(), SECOND, at(602)), Reading::Known(false));
    demand.observe("a", report("2", 3, vec![starting(true)]), at(603));
    demand.observe("a", report("2", 4, vec![starting(false)]), at(604));
    assert_eq!(demand.is_active(&key(), SECOND, at(606)), Reading::Known(false));
}
