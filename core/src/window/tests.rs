use super::*;

const SECOND: Duration = Duration::from_secs(1);
const WINDOW: Duration = Duration::from_secs(5);

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Records requests that arrived all at once.
fn record(arrivals: &mut Arrivals, at: Duration, count: u64) {
    arrivals.record(at, at, count);
}

fn assert_rate(arrivals: &Arrivals, seconds: u64, expected: f64) {
    let rate = arrivals.rate(WINDOW, SECOND, at(seconds));
    assert!((rate - expected).abs() < 1e-9, "at t{seconds}: {rate}, not {expected}");
}

/// The vectors of the Go implementation, whose buckets are whole seconds: what it records at the start of a second
/// arrived within the second before, and that second is known. Of its 19 vectors the last two are not kept: 7 at t17 and
/// 1 at t18, after a silence of one window, are 7.0 and 4.0 there. A known silence is part of the window here.
#[test]
fn the_rate_follows_the_vectors_of_the_go_implementation() {
    // Second, what is recorded there, and the average right after it.
    let vectors = [
        (0, 1, 1.0),
        (1, 2, 1.5),
        (2, 3, 2.0),
        (3, 4, 2.5),
        (4, 5, 3.0),
        (5, 0, 2.8),
        (6, 0, 2.4),
        (7, 8, 3.4),
        (8, 9, 4.4),
        (9, 10, 5.4),
        (10, 11, 7.6),
        (11, 12, 10.0),
        (12, 0, 8.4),
        (13, 0, 6.6),
        (14, 0, 4.6),
        (15, 0, 2.4),
        (16, 0, 0.0),
        (17, 7, 1.4),
        (18, 1, 1.6),
    ];
    let mut arrivals = Arrivals::default();
    for (seconds, count, expected) in vectors {
        record(&mut arrivals, at(seconds), count);
        let known = at(seconds + 1);
        let rate = arrivals.rate(WINDOW.min(known), SECOND, at(seconds));
        assert!((rate - expected).abs() < 1e-9, "at t{seconds}: {rate}, not {expected}");
    }
}

#[test]
fn nothing_arrived_is_a_rate_of_zero() {
    assert_rate(&Arrivals::default(), 0, 0.0);
    assert_rate(&Arrivals::default(), 100, 0.0);
}

#[test]
fn an_arrival_exactly_one_window_old_is_over() {
    let mut arrivals = Arrivals::default();
    record(&mut arrivals, at(10), 3);
    assert_rate(&arrivals, 14, 0.6);
    assert_rate(&arrivals, 15, 0.0);
    assert!(arrivals.any_within(WINDOW, at(15) - Duration::from_nanos(1)));
    assert!(!arrivals.any_within(WINDOW, at(15)));
}

#[test]
fn fault_d1b_a_silence_is_part_of_the_window() {
    let mut arrivals = Arrivals::default();
    record(&mut arrivals, at(10), 100);
    record(&mut arrivals, at(15), 4);
    assert_rate(&arrivals, 15, 0.8);
    // Read often, the rates of a burst add up to its requests.
    let burst = at(100) + Duration::from_millis(130);
    arrivals.record(burst - Duration::from_millis(100), burst, 100);
    let step = Duration::from_millis(1);
    let integral: f64 = (0..12_000)
        .map(|millis| arrivals.rate(WINDOW, SECOND, at(100) + step * millis) * step.as_secs_f64())
        .sum();
    assert!((integral - 100.0).abs() < 0.1, "{integral}");
}

#[test]
fn fault_d1_the_window_slides_through_spans() {
    let mut arrivals = Arrivals::default();
    let millis = Duration::from_millis;
    arrivals.record(at(10), at(12), 8);
    for (end, expected) in [
        (10_000, 0.0),
        (10_500, 2.0),
        (12_000, 8.0),
        (15_000, 8.0),
        (16_250, 3.0),
        (17_000, 0.0),
    ] {
        let sum = arrivals.rate(WINDOW, WINDOW, millis(end));
        assert!((sum - expected).abs() < 1e-9, "at {end} ms: {sum}");
    }
}

#[test]
fn the_average_is_per_granularity() {
    let mut arrivals = Arrivals::default();
    for seconds in 0..60 {
        record(&mut arrivals, at(seconds), 2);
    }
    assert!((arrivals.rate(at(10), at(5), at(59)) - 10.0).abs() < 1e-9);
    assert!((arrivals.rate(at(5), at(2), at(59)) - 4.0).abs() < 1e-9);
    assert!((arrivals.rate(at(10), Duration::from_millis(500), at(59)) - 1.0).abs() < 1e-9);
    // A window that is shorter than the granularity is that long.
    assert!((arrivals.rate(at(1), at(5), at(59)) - 10.0).abs() < 1e-9);
}

#[test]
fn degenerate_windows_and_granularities_give_numbers() {
    let mut arrivals = Arrivals::default();
    record(&mut arrivals, at(1), 5);
    for window in [Duration::ZERO, Duration::MAX] {
        for granularity in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
            assert!(arrivals.rate(window, granularity, at(1)).is_finite());
            assert!(arrivals.rate(window, granularity, Duration::MAX).is_finite());
            assert!(
                arrivals.rate(window, granularity, Duration::ZERO) < 1e-9,
                "not arrived yet"
            );
        }
    }
}

#[test]
fn records_out_of_order_land_in_their_place() {
    let mut arrivals = Arrivals::default();
    for seconds in [4, 1, 3, 0, 2] {
        record(&mut arrivals, at(seconds), seconds + 1);
    }
    assert_rate(&arrivals, 4, 3.0);
    assert_rate(&arrivals, 5, 2.8);
    assert_eq!(arrivals.newest(), Some(nanos(at(4))));
}

#[test]
fn arrivals_of_one_slot_share_an_entry() {
    let mut arrivals = Arrivals::default();
    for millis in 0..1000 {
        record(&mut arrivals, at(7) + Duration::from_millis(millis), 1);
    }
    assert_eq!(arrivals.entries.len(), 20);
    assert_rate(&arrivals, 8, 200.0);
}

#[test]
fn an_hour_recorded_newest_first_takes_no_time() {
    let started = std::time::Instant::now();
    for _ in 0..40 {
        let mut arrivals = Arrivals::default();
        (0..3600).for_each(|age| record(&mut arrivals, at(4000 - age), 1));
        assert!((arrivals.rate(at(3600), SECOND, at(4000)) - 1.0).abs() < 1e-9);
    }
    assert!(started.elapsed() < WINDOW, "{:?}", started.elapsed());
}

#[test]
fn arrivals_older_than_an_hour_are_dropped() {
    let mut arrivals = Arrivals::default();
    record(&mut arrivals, at(10), 1);
    record(&mut arrivals, at(3611), 1);
    record(&mut arrivals, at(5), 1);
    assert_eq!(arrivals.entries.len(), 1);
    arrivals.expire(at(100_000));
    assert_eq!(arrivals.newest(), Some(nanos(at(3611))), "the newest stays");
}

#[test]
fn an_hour_of_ceaseless_arrivals_stays_small_and_exact_by_the_second() {
    let mut arrivals = Arrivals::default();
    let step = Duration::from_millis(50);
    for slot in 0..80_000_u32 {
        arrivals.record(step * slot.saturating_sub(1), step * slot, 1);
        assert!(arrivals.entries.len() < MOST_ENTRIES);
    }
    let now = step * 79_999;
    assert!((arrivals.rate(at(3000), SECOND, now) - 20.0).abs() < 1e-9);
    assert!((arrivals.rate(at(199), step, now) - 1.0).abs() < 1e-9);
}

/// The rule, spelled out over an array of moments and of the units of time between them. Records are since, at and
/// count; all times are in the same unit.
#[allow(clippy::cast_precision_loss)]
pub(crate) fn model_rate(records: &[(u64, u64, u64)], window: u64, granularity: u64, end: u64) -> f64 {
    let window = window.max(granularity);
    let is_within = |unit: u64| unit <= end && unit + window > end;
    let count_within = |&(since, at, count): &(u64, u64, u64)| {
        if since == at {
            return if is_within(at) { count as f64 } else { 0.0 };
        }
        let units = (since + 1..=at).filter(|unit| is_within(*unit)).count();
        count as f64 * units as f64 / (at - since) as f64
    };
    let sum: f64 = records.iter().map(count_within).sum();
    sum * granularity as f64 / window as f64
}

mod against_the_model {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Times are multiples of a slot, and all spans are of one length, so that entries that share a slot are exact.
        #[test]
        fn the_rate_is_the_models(
            mut records in proptest::collection::vec((0_u64..600, 0_u64..20), 0..60),
            span in 0_u64..30,
            window in 1_u64..300,
            granularity in 1_u64..60,
            idle in 0_u64..200,
            lag in 0_u64..40,
            shuffled in any::<bool>(),
        ) {
            if !shuffled {
                records.sort_unstable();
            }
            let time = |units: u64| Duration::from_nanos(SLOT) * u32::try_from(units).unwrap();
            let records: Vec<_> = records.iter().map(|(at, count)| (at + 100 - span, at + 100, *count)).collect();
            let mut arrivals = Arrivals::default();
            for (since, at, count) in &records {
                arrivals.record(time(*since), time(*at), *count);
            }
            let now = records.iter().map(|record| record.1).max().unwrap_or(100) + idle;
            let end = now - lag;
            let is = arrivals.rate(time(window), time(granularity), time(end));
            let expected = model_rate(&records, window, granularity, end);
            prop_assert!((is - expected).abs() < 1e-6, "{} instead of {}", is, expected);
            let recent = records.iter().any(|(_, at, count)| *count > 0 && now - at < window);
            prop_assert_eq!(arrivals.any_within(time(window), time(now)), recent);
        }
    }
}
