use super::*;

const SECOND: Duration = Duration::from_secs(1);
const WINDOW: Duration = Duration::from_secs(5);

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn assert_rate(arrivals: &Arrivals, seconds: u64, expected: f64) {
    let rate = arrivals.rate(WINDOW, SECOND, at(seconds));
    assert!((rate - expected).abs() < 1e-9, "at t{seconds}: {rate}, not {expected}");
}

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
        (17, 7, 7.0),
        (18, 1, 4.0),
    ];
    let mut arrivals = Arrivals::default();
    for (seconds, count, expected) in vectors {
        arrivals.record(at(seconds), count);
        assert_rate(&arrivals, seconds, expected);
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
    arrivals.record(at(10), 3);
    assert_rate(&arrivals, 14, 0.6);
    assert_rate(&arrivals, 15, 0.0);
    assert!(arrivals.any_within(WINDOW, at(15) - Duration::from_nanos(1)));
    assert!(!arrivals.any_within(WINDOW, at(15)));
}

#[test]
fn a_gap_of_one_window_between_arrivals_restarts_the_average() {
    let mut arrivals = Arrivals::default();
    arrivals.record(at(10), 100);
    arrivals.record(at(15), 4);
    assert_rate(&arrivals, 15, 4.0);
    let mut sooner = Arrivals::default();
    sooner.record(at(10), 100);
    sooner.record(at(14), 4);
    assert_rate(&sooner, 14, 20.8);
}

#[test]
fn the_average_is_per_granularity_and_the_window_rounds_up_to_whole_buckets() {
    let mut arrivals = Arrivals::default();
    for seconds in 0..60 {
        arrivals.record(at(seconds), 2);
    }
    assert!((arrivals.rate(at(10), at(5), at(59)) - 10.0).abs() < 1e-9);
    // Three buckets of two seconds stand for five seconds.
    assert!((arrivals.rate(at(5), at(2), at(59)) - 4.0).abs() < 1e-9);
    assert!((arrivals.rate(at(10), Duration::from_millis(500), at(59)) - 20.0 / 20.0).abs() < 1e-9);
}

#[test]
fn degenerate_windows_and_granularities_give_numbers() {
    let mut arrivals = Arrivals::default();
    arrivals.record(at(1), 5);
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
        arrivals.record(at(seconds), seconds + 1);
    }
    assert_rate(&arrivals, 4, 3.0);
    assert_rate(&arrivals, 5, 2.8);
    assert_eq!(arrivals.newest(), Some(nanos(at(4))));
}

#[test]
fn arrivals_of_one_slot_share_an_entry() {
    let mut arrivals = Arrivals::default();
    for millis in 0..1000 {
        arrivals.record(at(7) + Duration::from_millis(millis), 1);
    }
    assert_eq!(arrivals.entries.len(), 20);
    assert_rate(&arrivals, 8, 500.0);
}

#[test]
fn an_hour_told_newest_first_is_taken_in_at_once() {
    let started = std::time::Instant::now();
    for _ in 0..40 {
        let mut arrivals = Arrivals::default();
        (0..3600).for_each(|age| arrivals.record(at(4000 - age), 1));
        assert!((arrivals.rate(at(3600), SECOND, at(4000)) - 1.0).abs() < 1e-9);
    }
    assert!(started.elapsed() < WINDOW, "{:?}", started.elapsed());
}

#[test]
fn what_is_older_than_an_hour_is_dropped() {
    let mut arrivals = Arrivals::default();
    arrivals.record(at(10), 1);
    arrivals.record(at(3611), 1);
    arrivals.record(at(5), 1);
    assert_eq!(arrivals.entries.len(), 1);
    arrivals.expire(at(100_000));
    assert_eq!(arrivals.newest(), Some(nanos(at(3611))), "the newest stays");
}

#[test]
fn an_hour_of_ceaseless_arrivals_stays_small_and_exact_by_the_second() {
    let mut arrivals = Arrivals::default();
    let step = Duration::from_millis(50);
    for slot in 0..80_000 {
        arrivals.record(step * slot, 1);
        assert!(arrivals.entries.len() < MOST_ENTRIES);
    }
    let now = step * 79_999;
    assert!((arrivals.rate(at(3000), SECOND, now) - 20.0).abs() < 1e-9);
    assert!((arrivals.rate(at(199), step, now) - 1.0).abs() < 1e-9);
}

pub(crate) mod against_a_model {
    #![allow(clippy::cast_precision_loss)]
    use proptest::prelude::*;

    use super::*;

    /// The rule, spelled out over an array of buckets: walk time forwards, restart at a silence of one window.
    pub(crate) fn rate(records: &[(u64, u64)], window: u64, granularity: u64, now: u64) -> f64 {
        let buckets = window.div_ceil(granularity).max(1) as usize;
        let mut counts = vec![0_u64; (now / granularity + 1) as usize];
        for (at, count) in records {
            counts[(at / granularity) as usize] += count;
        }
        let (mut first, mut last) = (None, 0);
        for (bucket, count) in counts.iter().enumerate() {
            if *count > 0 {
                first = first.filter(|_| bucket - last < buckets).or(Some(bucket));
                last = bucket;
            }
        }
        let running = counts.len() - 1;
        let Some(first) = first.filter(|_| running - last < buckets) else {
            return 0.0;
        };
        let sum: u64 = counts.iter().rev().take(buckets).sum();
        sum as f64 / (running - first + 1).min(buckets) as f64
    }

    proptest! {
        /// Times are multiples of 10 ms, granularities of 50 ms.
        #[test]
        fn the_rate_is_the_models(
            mut records in proptest::collection::vec((0_u64..3000, 0_u64..20), 0..60),
            window in 1_u64..1500,
            granularity in 1_u64..60,
            idle in 0_u64..1000,
            shuffled in any::<bool>(),
        ) {
            if !shuffled {
                records.sort_unstable();
            }
            let unit = Duration::from_millis(10);
            let mut arrivals = Arrivals::default();
            for (at, count) in &records {
                arrivals.record(unit * u32::try_from(*at).unwrap(), *count);
            }
            let now = records.iter().map(|record| record.0).max().unwrap_or_default() + idle;
            let granularity = granularity * 5;
            let [w, g, n] = [window, granularity, now].map(|units| unit * u32::try_from(units).unwrap());
            let (is, expected) = (arrivals.rate(w, g, n), rate(&records, window, granularity, now));
            prop_assert!((is - expected).abs() < 1e-9, "{} instead of {}", is, expected);
            let recent = records.iter().any(|(at, count)| *count > 0 && now - at < window);
            prop_assert_eq!(arrivals.any_within(w, n), recent);
        }
    }
}
