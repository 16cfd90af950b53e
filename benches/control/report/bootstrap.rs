//! Intervals by resampling.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const RESAMPLES: usize = 2000;

/// The 95% percentile interval of `statistic` over resamples of `count` runs; it is given the indices of a resample.
pub fn interval(count: usize, statistic: impl Fn(&[usize]) -> f64) -> (f64, f64) {
    let mut rng = StdRng::seed_from_u64(95);
    let mut values: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let resample: Vec<usize> = (0..count).map(|_| rng.random_range(0..count)).collect();
            statistic(&resample)
        })
        .filter(|value| value.is_finite())
        .collect();
    values.sort_by(f64::total_cmp);
    let at = |share: f64| {
        values
            .get((share * (values.len().saturating_sub(1)) as f64).round() as usize)
            .copied()
    };
    (at(0.025).unwrap_or(f64::NAN), at(0.975).unwrap_or(f64::NAN))
}

/// The interval of a mean.
pub fn of_mean(values: &[f64]) -> (f64, f64) {
    interval(values.len().max(1), |resample| {
        resample.iter().filter_map(|&index| values.get(index)).sum::<f64>() / resample.len() as f64
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_the_mean_and_narrows_with_more_runs() {
        let values = |count: i32| (0..count).map(|index| f64::from(index % 10)).collect::<Vec<_>>();
        let (few, many) = (of_mean(&values(20)), of_mean(&values(2000)));
        assert!(few.0 < 4.5 && 4.5 < few.1);
        assert!(many.1 - many.0 < few.1 - few.0);
        // 1.96 standard errors: 2.87 / sqrt(20) * 1.96 is 1.26.
        assert!(((few.1 - few.0) / 2.0 - 1.26).abs() < 0.2, "{few:?}");
    }
}
