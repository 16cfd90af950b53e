//! Response times as bucket counts: the only form in which windows and pods may be added up.

use std::sync::Arc;

/// Relative distance within which an edge counts as the one that was asked for (text round trips of floats).
const SAME_EDGE: f64 = 1e-6;
/// Part of the last, infinite bucket that is taken to lie above a response time in it.
const UNKNOWN: f64 = 0.5;
/// Part of the edges that two ladders must have in common to be added up over those alone.
const ALIKE: f64 = 0.5;

/// Counts of response times by bucket, not cumulative.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// Upper bounds of the buckets in seconds, ascending, without the last, infinite one.
    pub upper_bounds_seconds: Arc<[f64]>,
    /// Requests in each bucket; one longer than the bounds, the last is everything beyond.
    pub counts: Vec<u64>,
}

/// How many requests took longer than a response time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exceedance {
    /// All requests.
    pub total: u64,
    /// Those that surely took longer.
    pub exceeding: u64,
    /// Those of the bucket that holds the response time, where no edge lies exactly there: nobody can say.
    pub undecided: u64,
    /// The share of those that took longer if response times are spread evenly over the bucket's logarithm, 0 to 1.
    pub likely: f64,
}

impl Histogram {
    /// An empty histogram over `upper_bounds_seconds`.
    #[must_use]
    pub fn empty(upper_bounds_seconds: Arc<[f64]>) -> Self {
        let counts = vec![0; upper_bounds_seconds.len() + 1];
        Self {
            upper_bounds_seconds,
            counts,
        }
    }

    /// From cumulative counts by upper bound, as Prometheus has them (`le`); the last bound may be infinite.
    ///
    /// Bounds must ascend. A cumulative count that falls counts as an empty bucket.
    #[must_use]
    pub fn from_cumulative(buckets: &[(f64, u64)]) -> Self {
        let finite = buckets.iter().take_while(|(bound, _)| bound.is_finite()).count();
        let mut previous = 0;
        let mut counts: Vec<u64> = Vec::with_capacity(finite + 1);
        for &(_, cumulative) in buckets.iter().take(finite + 1) {
            counts.push(cumulative.saturating_sub(previous));
            previous = previous.max(cumulative);
        }
        counts.resize(finite + 1, 0);
        Self {
            upper_bounds_seconds: buckets[..finite].iter().map(|(bound, _)| *bound).collect(),
            counts,
        }
    }

    /// Number of requests.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Adds the counts of `other`. Of ladders that hardly differ, such as those of pods from before and after an objective,
    /// the edges that both have are kept, so that no request is told on the wrong side of one. Otherwise its counts go to
    /// the buckets that hold their upper bounds, so that no request becomes faster than it was.
    pub fn merge(&mut self, other: &Self) {
        if self.counts.is_empty() {
            *self = other.clone();
        } else if self.upper_bounds_seconds == other.upper_bounds_seconds {
            self.counts
                .iter_mut()
                .zip(&other.counts)
                .for_each(|(mine, theirs)| *mine += theirs);
        } else {
            let common = self.common(other);
            if common.len() as f64 >= ALIKE * self.upper_bounds_seconds.len() as f64 {
                let mut sum = Self::empty(common.into());
                sum.add_upwards(self);
                *self = sum;
            }
            self.add_upwards(other);
        }
    }

    /// The edges that both have.
    fn common(&self, other: &Self) -> Vec<f64> {
        let theirs = &other.upper_bounds_seconds;
        let has = |mine: f64| {
            let index = theirs.partition_point(|&bound| bound < mine * (1.0 - SAME_EDGE));
            theirs
                .get(index)
                .is_some_and(|&bound| bound <= mine * (1.0 + SAME_EDGE))
        };
        let mine = self.upper_bounds_seconds.iter().copied();
        mine.filter(|&bound| has(bound)).collect()
    }

    fn add_upwards(&mut self, other: &Self) {
        for (index, &count) in other.counts.iter().enumerate() {
            let bound = other.upper_bounds_seconds.get(index).copied().unwrap_or(f64::INFINITY);
            let bucket = self
                .upper_bounds_seconds
                .partition_point(|&mine| mine * (1.0 + SAME_EDGE) < bound);
            self.counts[bucket] += count;
        }
    }

    /// What was added since `earlier` of the same counter. A counter that started anew (any bucket fell, or the
    /// bounds changed) counts from zero.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let comparable =
            self.upper_bounds_seconds == earlier.upper_bounds_seconds && self.counts.len() == earlier.counts.len();
        if !comparable || self.counts.iter().zip(&earlier.counts).any(|(now, then)| now < then) {
            return self.clone();
        }
        let counts = self
            .counts
            .iter()
            .zip(&earlier.counts)
            .map(|(now, then)| now - then)
            .collect();
        Self {
            upper_bounds_seconds: Arc::clone(&self.upper_bounds_seconds),
            counts,
        }
    }

    /// How many requests took longer than `response_time_seconds`. Without an edge there, those of its bucket are undecided.
    #[must_use]
    pub fn exceedance(&self, response_time_seconds: f64) -> Exceedance {
        let limit = response_time_seconds * (1.0 + SAME_EDGE);
        let within = self.upper_bounds_seconds.partition_point(|&bound| bound <= limit);
        let exact = within > 0 && self.upper_bounds_seconds[within - 1] >= response_time_seconds * (1.0 - SAME_EDGE);
        let beyond = |from: usize| self.counts.iter().skip(from).sum::<u64>();
        let undecided = if exact { 0 } else { beyond(within) - beyond(within + 1) };
        Exceedance {
            total: self.total(),
            exceeding: beyond(within) - undecided,
            undecided,
            likely: self.part_above(within, response_time_seconds),
        }
    }

    /// The part of a bucket that lies above `seconds` within it.
    fn part_above(&self, bucket: usize, seconds: f64) -> f64 {
        let bounds = &self.upper_bounds_seconds;
        let Some(&upper) = bounds.get(bucket) else {
            return UNKNOWN;
        };
        let lower = if bucket == 0 { 0.0 } else { bounds[bucket - 1] };
        let part = if lower > 0.0 {
            (upper / seconds).ln() / (upper / lower).ln()
        } else {
            1.0 - seconds / upper
        };
        part.clamp(0.0, 1.0)
    }

    /// The response time in seconds that the share `percentile` (0 to 1) of requests did not exceed, interpolated
    /// geometrically within its bucket (the ladder of bounds is geometric). `None` when empty; beyond the last bound,
    /// one and a half times that bound.
    #[must_use]
    pub fn quantile(&self, percentile: f64) -> Option<f64> {
        let total = self.total();
        if total == 0 {
            return None;
        }
        let rank = percentile.clamp(0.0, 1.0) * total as f64;
        let mut below = 0.0;
        for (index, &count) in self.counts.iter().enumerate() {
            let count = count as f64;
            if count > 0.0 && below + count >= rank {
                return Some(self.within_bucket(index, ((rank - below) / count).clamp(0.0, 1.0)));
            }
            below += count;
        }
        None
    }

    /// The mean in seconds, each request taken at the geometric middle of its bucket. `None` when empty.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        let total = self.total();
        let sum: f64 = self
            .counts
            .iter()
            .enumerate()
            .map(|(index, &count)| count as f64 * self.within_bucket(index, 0.5))
            .sum();
        (total > 0).then(|| sum / total as f64)
    }

    fn within_bucket(&self, index: usize, share: f64) -> f64 {
        let bounds = &self.upper_bounds_seconds;
        let Some(&last) = bounds.last() else { return 0.0 };
        let Some(&upper) = bounds.get(index) else {
            return last * 1.5;
        };
        let lower = if index == 0 { 0.0 } else { bounds[index - 1] };
        if lower > 0.0 {
            lower * (upper / lower).powf(share)
        } else {
            upper * share
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn ladder() -> Arc<[f64]> {
        (0..40).map(|step| 0.001 * 1.25_f64.powi(step)).collect()
    }

    #[test]
    fn an_edge_at_the_response_time_counts_exactly() {
        let histogram = Histogram::from_cumulative(&[(0.05, 90), (0.1, 99), (0.2, 99), (f64::INFINITY, 100)]);
        let told = |seconds: f64| {
            let exceedance = histogram.exceedance(seconds);
            (exceedance.total, exceedance.exceeding, exceedance.undecided)
        };
        assert_eq!(told(0.1), (100, 1, 0));
        assert_eq!(told(0.15), (100, 1, 0));
        assert_eq!(told(0.07), (100, 1, 9));
        assert_eq!(told(0.01), (100, 10, 90));
        assert_eq!(told(5.0), (100, 0, 1));
        let likely = histogram.exceedance(0.05 * 2.0_f64.sqrt()).likely;
        assert!((likely - 0.5).abs() < 1e-9, "{likely}");
    }

    #[test]
    fn a_counter_that_restarts_counts_from_zero() {
        let before = Histogram::from_cumulative(&[(0.1, 50), (f64::INFINITY, 60)]);
        let after = Histogram::from_cumulative(&[(0.1, 55), (f64::INFINITY, 66)]);
        let restarted = Histogram::from_cumulative(&[(0.1, 3), (f64::INFINITY, 4)]);
        assert_eq!(after.since(&before).counts, vec![5, 1]);
        assert_eq!(restarted.since(&before).counts, vec![3, 1]);
    }

    #[test]
    fn merging_other_bounds_makes_nothing_faster() {
        let mut coarse = Histogram::empty([0.1, 1.0].into());
        coarse.merge(&Histogram::from_cumulative(&[(0.05, 1), (0.2, 3), (f64::INFINITY, 4)]));
        assert_eq!(coarse.counts, vec![1, 2, 1]);
    }

    #[test]
    fn pods_without_an_edge_leave_undecided_what_others_decide() {
        let mut new = Histogram::from_cumulative(&[(0.08, 80), (0.1, 100), (0.12, 100), (f64::INFINITY, 100)]);
        let old = Histogram::from_cumulative(&[(0.08, 80), (0.12, 100), (f64::INFINITY, 100)]);
        let mut first = old.clone();
        first.merge(&new);
        new.merge(&old);
        for both in [first, new] {
            let exceedance = both.exceedance(0.1);
            assert_eq!(
                (exceedance.total, exceedance.exceeding, exceedance.undecided),
                (200, 0, 40)
            );
        }
    }

    #[test]
    fn quantiles_of_an_exponential_are_close() {
        let bounds = ladder();
        let mut histogram = Histogram::empty(bounds);
        for rank in 0..100_000 {
            let value = -0.02 * (1.0 - (f64::from(rank) + 0.5) / 100_000.0).ln();
            let bucket = histogram.upper_bounds_seconds.partition_point(|&bound| bound < value);
            histogram.counts[bucket] += 1;
        }
        for percentile in [0.5, 0.9, 0.95, 0.99] {
            let exact = -0.02 * (1.0_f64 - percentile).ln();
            let relative = histogram.quantile(percentile).unwrap() / exact - 1.0;
            assert!(relative.abs() < 0.03, "p{percentile}: {relative}");
        }
        assert!((histogram.mean().unwrap() / 0.02 - 1.0).abs() < 0.03);
    }

    proptest! {
        #[test]
        fn merge_then_since_gives_back_what_was_merged(a in prop::collection::vec(0_u64..1000, 41), b in prop::collection::vec(0_u64..1000, 41)) {
            let first = Histogram { upper_bounds_seconds: ladder(), counts: a };
            let second = Histogram { upper_bounds_seconds: ladder(), counts: b };
            let mut sum = first.clone();
            sum.merge(&second);
            prop_assert_eq!(sum.since(&first), second);
        }

        #[test]
        fn quantiles_ascend(counts in prop::collection::vec(0_u64..50, 41)) {
            let histogram = Histogram { upper_bounds_seconds: ladder(), counts };
            let mut previous = 0.0;
            for step in 0..=20 {
                if let Some(value) = histogram.quantile(f64::from(step) / 20.0) {
                    prop_assert!(value >= previous - 1e-12);
                    previous = value;
                }
            }
        }
    }
}
