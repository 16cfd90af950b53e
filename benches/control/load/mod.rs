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

    /// The first `seconds` of it.
    #[must_use]
    pub fn until(mut self, seconds: usize) -> Self {
        self.rates.truncate(seconds);
        self
    }

    /// The mean of its first minute.
    pub fn first_minute(&self) -> f64 {
        let minute = &self.rates[..self.rates.len().min(60)];
        minute.iter().sum::<f64>() / minute.len().max(1) as f64
    }

    /// The same load preceded by `seconds` of `warm_up`, run backwards from its first second and forth again, so that loads
    /// that begin alike join without a jump.
    #[must_use]
    pub fn after(&self, warm_up: &Self, seconds: usize) -> Self {
        let length = warm_up.rates.len().max(1);
        let mirrored = |before: usize| {
            let place = before % (2 * length);
            warm_up.rate(place.min(2 * length - 1 - place))
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
    fn a_warm_up_is_run_backwards_and_forth_and_nothing_of_the_load_itself() {
        let load = Load::new(vec![7.0, 8.0]).after(&Load::new(vec![1.0, 2.0, 3.0]), 4);
        assert_eq!(load.rates, vec![3.0, 3.0, 2.0, 1.0, 7.0, 8.0]);
        assert_eq!(load.rate(100), 8.0);
    }
}
