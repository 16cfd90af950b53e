//! Offered load: requests per second over time, recorded or made.

mod generators;
mod trace;

pub use generators::{bursty, constant, day, diurnal, noisy, step};
pub use trace::read;

/// Requests per second, one value a second.
#[derive(Clone, Debug, PartialEq)]
pub struct Load {
    rates: Vec<f64>,
}

impl Load {
    /// A load of these rates, each for one second.
    pub fn new(rates: Vec<f64>) -> Self {
        Self { rates }
    }

    /// Its length in seconds.
    pub fn seconds(&self) -> usize {
        self.rates.len()
    }

    /// Requests per second in the given second; the last one goes on for ever.
    pub fn rate(&self, second: usize) -> f64 {
        let last = self.rates.last().copied().unwrap_or(0.0);
        self.rates.get(second).copied().unwrap_or(last)
    }

    /// The mean rate.
    pub fn mean(&self) -> f64 {
        self.rates.iter().sum::<f64>() / self.rates.len().max(1) as f64
    }

    /// Every rate multiplied by `factor`.
    #[must_use]
    pub fn scaled(mut self, factor: f64) -> Self {
        self.rates.iter_mut().for_each(|rate| *rate *= factor);
        self
    }

    /// The same load preceded by a warm-up of `seconds`: the load run backwards from its first second, so that the
    /// two join without a jump and the warm-up has seen the same range.
    #[must_use]
    pub fn with_warm_up(&self, seconds: usize) -> Self {
        let length = self.rates.len().max(1);
        let mirrored = |before: usize| {
            let place = before % (2 * length);
            if place < length {
                self.rate(place)
            } else {
                self.rate(2 * length - 1 - place)
            }
        };
        let mut rates: Vec<f64> = (0..seconds).rev().map(mirrored).collect();
        rates.extend_from_slice(&self.rates);
        Self { rates }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warm_up_joins_without_a_jump_and_repeats_the_load() {
        let load = Load::new(vec![1.0, 2.0, 3.0]).with_warm_up(4);
        assert_eq!(load.rates, vec![3.0, 3.0, 2.0, 1.0, 1.0, 2.0, 3.0]);
        assert_eq!(load.rate(100), 3.0);
    }
}
