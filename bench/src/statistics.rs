//! Medians, percentiles and spreads of small samples.

use std::time::Duration;

use serde::Serialize;

/// Median, least and greatest of some figures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// Of at least one figure; without any, all are zero.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let at = |quantile| percentile(&figures, quantile);
        Self {
            median: at(0.5),
            min: at(0.0),
            max: at(1.0),
        }
    }
}

/// Milliseconds of each duration, sorted.
pub fn sorted_milliseconds(durations: &[Duration]) -> Vec<f64> {
    let mut figures: Vec<f64> = durations
        .iter()
        .map(|duration| duration.as_secs_f64() * 1000.0)
        .collect();
    figures.sort_by(f64::total_cmp);
    figures
}

/// The nearest-rank percentile of sorted figures: the least that is not below the given share of all. Zero of none.
pub fn percentile(sorted: &[f64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_figures_of_the_sample() {
        let figures: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!(percentile(&figures, 0.5), 100.0);
        assert_eq!(percentile(&figures, 0.99), 198.0);
        assert_eq!((percentile(&figures, 0.0), percentile(&figures, 1.0)), (1.0, 200.0));
        assert_eq!(percentile(&[], 0.5), 0.0);
    }

    #[test]
    fn a_spread_does_not_need_order() {
        assert_eq!(
            Spread::of([3.0, 1.0, 2.0]),
            Spread {
                median: 2.0,
                min: 1.0,
                max: 3.0
            }
        );
    }
}
