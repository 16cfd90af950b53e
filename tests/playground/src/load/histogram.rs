//! Latencies, counted in buckets whose edges grow by 2 %.

/// Growth of the edges.
const GROWTH: f64 = 1.02;
/// Lower edge of the second bucket in seconds.
const LEAST: f64 = 1e-4;
/// Buckets: up to about 160 seconds.
const BUCKETS: usize = 722;

/// A histogram of latencies. Quantiles are exact within 2 %.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            total: 0,
        }
    }
}

impl Histogram {
    /// Counts a latency.
    pub fn record(&mut self, seconds: f64) {
        let index = ((seconds / LEAST).ln() / GROWTH.ln()).ceil();
        self.counts[(index.max(0.0) as usize).min(BUCKETS - 1)] += 1;
        self.total += 1;
    }

    /// How many were counted.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Adds another histogram's counts.
    pub fn add(&mut self, other: &Self) {
        self.counts
            .iter_mut()
            .zip(&other.counts)
            .for_each(|(own, other)| *own += other);
        self.total += other.total;
    }

    /// The latency in seconds that the share `quantile` stays within; `None` where nothing was counted.
    pub fn quantile(&self, quantile: f64) -> Option<f64> {
        let rank = ((self.total as f64 * quantile).ceil() as u64).max(1);
        let mut seen = 0;
        let bucket = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        })?;
        Some(LEAST * GROWTH.powi(bucket as i32))
    }

    /// The share of latencies above a bound, within the resolution of the buckets.
    pub fn share_above(&self, seconds: f64) -> f64 {
        if self.total == 0 {
            return 0.0;
        }
        let first = ((seconds / LEAST).ln() / GROWTH.ln()).round().max(0.0) as usize + 1;
        let above: u64 = self.counts.iter().skip(first).sum();
        above as f64 / self.total as f64
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn quantiles_are_within_two_percent() {
        let mut histogram = Histogram::default();
        (1..=1000).for_each(|millis| histogram.record(f64::from(millis) / 1000.0));
        for (quantile, exact) in [(0.5, 0.5), (0.99, 0.99), (1.0, 1.0)] {
            let found = histogram.quantile(quantile).unwrap();
            assert!(found >= exact && found <= exact * 1.02, "{quantile}: {found}");
        }
        assert!((histogram.share_above(0.9) - 0.1).abs() < 0.02);
        assert_eq!(Histogram::default().quantile(0.5), None);
    }

    #[test]
    fn extremes_fall_into_the_outer_buckets() {
        let mut histogram = Histogram::default();
        histogram.record(0.0);
        histogram.record(1e9);
        let mut twice = histogram.clone();
        twice.add(&histogram);
        assert_eq!(twice.total(), 4);
    }
}
