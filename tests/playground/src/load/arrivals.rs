//! When requests arrive: a Poisson process whose rate follows a shape.

use rand::{Rng, RngExt};

use super::shape::Shape;

/// The rate is taken as constant over so many seconds.
const STEP_SECONDS: f64 = 0.02;

/// The times of arrivals, in seconds since the start, ascending.
pub struct Arrivals<'a, R> {
    shape: &'a Shape,
    rng: R,
    now: f64,
}

impl<'a, R: Rng> Arrivals<'a, R> {
    /// Arrivals from time 0.
    pub fn new(shape: &'a Shape, rng: R) -> Self {
        Self { shape, rng, now: 0.0 }
    }

    /// The next arrival before `end`. The expected number of arrivals up to it is drawn from the exponential law and
    /// the rate is integrated until it is reached.
    pub fn next_before(&mut self, end: f64) -> Option<f64> {
        let mut left = -(1.0 - self.rng.random::<f64>()).ln();
        while self.now < end {
            let rate = self.shape.rate(self.now);
            if rate * STEP_SECONDS >= left {
                self.now += left / rate;
                return (self.now < end).then_some(self.now);
            }
            left -= rate * STEP_SECONDS;
            self.now += STEP_SECONDS;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    #[test]
    fn as_many_arrive_as_the_shape_asks_and_independently() {
        let shape = Shape::Step {
            before: 50.0,
            after: 200.0,
            at_seconds: 100.0,
        };
        let mut arrivals = Arrivals::new(&shape, StdRng::seed_from_u64(1));
        let times: Vec<f64> = std::iter::from_fn(|| arrivals.next_before(200.0)).collect();
        let before = times.iter().filter(|time| **time < 100.0).count() as f64;
        let after = times.len() as f64 - before;
        // Four standard deviations of a Poisson number.
        assert!((before - 5_000.0).abs() < 4.0 * 5_000.0_f64.sqrt(), "{before}");
        assert!((after - 20_000.0).abs() < 4.0 * 20_000.0_f64.sqrt(), "{after}");
        let gaps: Vec<f64> = times
            .windows(2)
            .filter(|pair| pair[0] > 100.0)
            .map(|pair| pair[1] - pair[0])
            .collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.05);
    }

    #[test]
    fn nothing_arrives_at_rate_zero() {
        let shape = Shape::Constant { rate: 0.0 };
        assert_eq!(Arrivals::new(&shape, StdRng::seed_from_u64(1)).next_before(10.0), None);
    }
}
