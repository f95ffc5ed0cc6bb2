//! Steady traffic and bursts, reported as real interceptors do: every 200 ms, at once after quiet, nothing while nothing
//! changes. The rate is compared with the arrivals of the last window at any moment.

use proptest::prelude::*;

use super::*;

const WINDOW: Duration = Duration::from_secs(10);
const INTERVAL: u64 = 200;

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// An interceptor that has run for `age` ms when the scaler starts; request times are milliseconds since that start, or
/// before it.
struct Traffic {
    name: &'static str,
    age: u64,
    phase: u64,
    requests: Vec<i64>,
}

impl Traffic {
    fn arrived(&self, now: u64) -> u64 {
        let now = i64::try_from(now).unwrap();
        self.requests.partition_point(|at| *at <= now) as u64
    }

    fn report(&self, now: u64, recent_arrivals: Vec<u32>) -> Report {
        let complete = now == 0;
        Report {
            boot: Some("boot".to_owned()),
            uptime: millis(self.age + now),
            complete,
            targets: vec![TargetReport {
                recent_arrivals,
                ..target(self.arrived(now), 0)
            }],
            removed: Vec::new(),
        }
    }

    /// The arrivals of each of the last twelve seconds of the uptime.
    fn recent(&self) -> Vec<u32> {
        let age = i64::try_from(self.age).unwrap();
        let second = |at: i64| (at + age).div_euclid(1000);
        let count = |ago| {
            let of_second = self
                .requests
                .iter()
                .filter(|at| **at <= 0 && second(0) - second(**at) == ago);
            u32::try_from(of_second.count()).unwrap()
        };
        (0..12).map(count).collect()
    }

    /// Feeds what the interceptor reports at `now`.
    fn tick(&self, demand: &mut Demand, now: u64) {
        if now == 0 {
            demand.observe(self.name, self.report(0, self.recent()), millis(0));
            return;
        }
        let is_new = |since: u64| self.arrived(now) > self.arrived(since);
        let edge = is_new(now - 1) && !is_new_within(self, now);
        let regular = now % INTERVAL == self.phase && is_new(now.saturating_sub(INTERVAL));
        if edge || regular {
            demand.observe(self.name, self.report(now, Vec::new()), millis(now));
        }
    }
}

/// Whether anything arrived in the two intervals before: then the target is not quiet.
fn is_new_within(traffic: &Traffic, now: u64) -> bool {
    traffic.arrived(now - 1) > traffic.arrived(now.saturating_sub(2 * INTERVAL))
}

fn rate(demand: &Demand, now: u64) -> f64 {
    match demand.rate(&key(), WINDOW, SECOND, millis(now)) {
        Reading::Known(rate) => rate,
        Reading::NoData => panic!("no data at {now} ms"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// 50 requests a second, over one interceptor or two that report at different moments, from the first second of a
    /// scaler that has just started and beyond a whole window.
    #[test]
    fn fault_d1_a_steady_rate_is_read_within_one_percent(
        age in prop_oneof![Just(0_u64), 0_u64..30_000],
        phases in (0..INTERVAL, 0..INTERVAL),
        two in any::<bool>(),
        reads in 13_u64..500,
    ) {
        let step = if two { 40 } else { 20 };
        let mut all = vec![("a", phases.0, 0), ("b", phases.1, 20)];
        all.truncate(if two { 2 } else { 1 });
        let traffic: Vec<Traffic> = all.into_iter().map(|(name, phase, offset)| {
            let first = (offset - i64::try_from(age).unwrap()).div_euclid(step) * step + offset % step;
            let requests = (0..).map(|n| first + n * step).take_while(|at| *at < 25_000);
            Traffic { name, age, phase, requests: requests.filter(|at| *at > -i64::try_from(age).unwrap()).collect() }
        }).collect();
        let mut demand = new();
        for now in 0..25_000 {
            traffic.iter().for_each(|traffic| traffic.tick(&mut demand, now));
            // One request more or less is more than one percent of fewer than a hundred.
            if now % reads == 0 && now + age >= 4_000 {
                let is = rate(&demand, now);
                prop_assert!((is - 50.0).abs() <= 0.5, "{} at {} ms", is, now);
            }
        }
    }
}

#[test]
fn fault_d1b_a_burst_after_a_silence_asks_for_no_more_than_it_is() {
    let requests: Vec<i64> = (0..100).map(|n| 5_000 + n).collect();
    let burst = Traffic {
        name: "a",
        age: 60_000,
        phase: 70,
        requests,
    };
    let mut demand = new();
    let (mut integral, mut worst) = (0.0, 0.0_f64);
    for now in 0..20_000 {
        burst.tick(&mut demand, now);
        let is = rate(&demand, now);
        let within = burst.arrived(now) - burst.arrived(now.saturating_sub(10_000));
        integral += is / 1000.0;
        worst = worst.max((is - within as f64 / 10.0).abs());
    }
    assert!((integral - 100.0).abs() < 5.0, "{integral} requests");
    // Until the report of the burst, 200 ms after its first request, nobody can know.
    assert!(worst <= 10.0, "{worst}/s");
    assert!((rate(&demand, 14_000)).abs() < 10.1);
}
