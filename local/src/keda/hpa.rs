//! The HorizontalPodAutoscaler that KEDA makes: from one replica to many and back, never to or from zero.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::MetricType;

/// How often the HPA looks.
pub const PERIOD: Duration = Duration::from_secs(15);
/// For how long the highest recommendation holds before replicas are taken away.
const STABILIZATION: Duration = Duration::from_secs(300);
/// Differences from the target that are left alone.
const TOLERANCE: f64 = 0.1;

/// A metric as the HPA reads it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    pub value: f64,
    pub target: f64,
    pub metric: MetricType,
}

#[derive(Debug, Default)]
pub struct Hpa {
    recommendations: VecDeque<(Instant, u32)>,
}

impl Hpa {
    /// The desired number of replicas. `complete` says whether every metric could be read: with one missing no replica is
    /// removed.
    pub fn step(
        &mut self,
        replicas: u32,
        readings: &[Reading],
        complete: bool,
        bounds: (u32, u32),
        now: Instant,
    ) -> u32 {
        let wanted = readings.iter().map(|reading| wanted(replicas, reading)).max();
        let Some(wanted) = wanted.filter(|wanted| replicas > 0 && (complete || *wanted >= replicas)) else {
            return replicas;
        };
        let (min, max) = (bounds.0.max(1), bounds.1.max(1));
        let bounded = wanted.clamp(min, max.max(min));
        self.stabilised(bounded, replicas, now).min(limit_of_growth(replicas))
    }

    /// More at once, but fewer only when nothing more was asked for during the stabilization window.
    fn stabilised(&mut self, wanted: u32, replicas: u32, now: Instant) -> u32 {
        self.recommendations
            .retain(|(then, _)| now.saturating_duration_since(*then) < STABILIZATION);
        self.recommendations.push_back((now, wanted));
        if wanted >= replicas {
            return wanted;
        }
        let recommended = self.recommendations.iter().map(|(_, wanted)| *wanted);
        recommended.max().unwrap_or(wanted).min(replicas)
    }
}

/// Four more, or twice as many.
fn limit_of_growth(replicas: u32) -> u32 {
    replicas.saturating_add(4).max(replicas.saturating_mul(2))
}

fn wanted(replicas: u32, reading: &Reading) -> u32 {
    if reading.target.is_nan() || reading.target <= 0.0 {
        return replicas;
    }
    let now = f64::from(replicas);
    let needed = match reading.metric {
        MetricType::AverageValue => reading.value / reading.target,
        MetricType::Value => now * reading.value / reading.target,
    };
    if now > 0.0 && (needed / now - 1.0).abs() <= TOLERANCE {
        return replicas;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to the range of u32"
    )]
    let count = needed.ceil().clamp(0.0, f64::from(u32::MAX)) as u32;
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(value: f64) -> Reading {
        Reading {
            value,
            target: 10.0,
            metric: MetricType::AverageValue,
        }
    }

    fn step(replicas: u32, value: f64) -> u32 {
        Hpa::default().step(replicas, &[reading(value)], true, (0, 20), Instant::now())
    }

    #[test]
    fn replicas_are_the_value_over_the_target_rounded_up() {
        assert_eq!(step(1, 35.0), 4);
        assert_eq!(step(4, 31.0), 4);
        assert_eq!(step(3, 11.0), 2);
    }

    #[test]
    fn small_differences_are_left_alone() {
        assert_eq!(step(2, 21.9), 2);
        assert_eq!(step(2, 22.1), 3);
    }

    #[test]
    fn it_never_goes_to_or_from_zero_and_stays_in_bounds() {
        assert_eq!(step(0, 100.0), 0);
        assert_eq!(step(1, 0.0), 1);
        assert_eq!(step(15, 1000.0), 20);
    }

    #[test]
    fn growth_is_limited_to_four_more_or_twice_as_many() {
        assert_eq!(step(1, 200.0), 5);
        assert_eq!(step(8, 200.0), 16);
    }

    #[test]
    fn a_value_that_is_each_replicas_scales_in_proportion() {
        let reading = Reading {
            metric: MetricType::Value,
            ..reading(20.0)
        };
        assert_eq!(Hpa::default().step(3, &[reading], true, (0, 20), Instant::now()), 6);
    }

    #[test]
    fn the_metric_that_wants_most_decides() {
        let readings = [reading(5.0), reading(35.0)];
        assert_eq!(Hpa::default().step(1, &readings, true, (0, 20), Instant::now()), 4);
    }

    #[test]
    fn nothing_is_taken_away_while_a_metric_is_missing() {
        let now = Instant::now();
        assert_eq!(Hpa::default().step(4, &[reading(5.0)], false, (0, 20), now), 4);
        assert_eq!(Hpa::default().step(4, &[reading(55.0)], false, (0, 20), now), 6);
        assert_eq!(Hpa::default().step(4, &[], false, (0, 20), now), 4);
    }

    #[test]
    fn replicas_are_taken_away_only_after_the_stabilization_window() {
        let mut hpa = Hpa::default();
        let start = Instant::now();
        let mut at = |seconds, replicas, value| {
            hpa.step(
                replicas,
                &[reading(value)],
                true,
                (0, 20),
                start + Duration::from_secs(seconds),
            )
        };
        assert_eq!(at(0, 1, 40.0), 4);
        assert_eq!(at(15, 4, 5.0), 4);
        assert_eq!(at(299, 4, 5.0), 4);
        assert_eq!(at(300, 4, 5.0), 1);
    }
}
