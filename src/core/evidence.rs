//! What counts of requests say about an objective, and with what confidence.
//!
//! With k of N requests above the response time, the share of such requests has the posterior Beta(1/2 + k, 1/2 + N - k)
//! under Jeffreys' prior (Brown, Cai and DasGupta, "Interval Estimation for a Binomial Proportion", Statistical Science
//! 16(2), 2001). An objective is met, or violated, only when the one-sided 95% bound says so.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::beta;
use super::histogram::Histogram;
use super::objective::Objective;
use super::readout::Verdict;

/// Confidence of every one-sided bound.
pub const CONFIDENCE: f64 = 0.95;
/// Windows older than this say nothing about the present, in seconds.
pub const RECENT_SECONDS: f64 = 300.0;
/// Time constant of the error budget, in seconds.
const BUDGET_SECONDS: f64 = 3600.0;
/// Time over which the error budget becomes known, in seconds, and what is taken to be left of it before.
const PRIOR_SECONDS: f64 = 1200.0;
const PRIOR_LEFT: f64 = 0.4;

/// Requests, and those that took longer than an objective's response time. Fractional once old ones have faded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "(f64, f64)", into = "(f64, f64)")]
pub struct Counts {
    /// All requests.
    pub requests: f64,
    /// Those above the response time.
    pub exceeding: f64,
}

impl Counts {
    /// The upper end of the share above the response time, 0 to 1.
    #[must_use]
    pub fn upper(&self) -> f64 {
        beta::quantile(CONFIDENCE, 0.5 + self.exceeding, 0.5 + self.rest())
    }

    /// Whether the share is at most `share` with the given confidence.
    #[must_use]
    pub fn surely_within(&self, share: f64, confidence: f64) -> bool {
        beta::cumulative(share, 0.5 + self.exceeding, 0.5 + self.rest()) >= confidence
    }

    /// The lower end of that share, 0 to 1.
    #[must_use]
    pub fn lower(&self) -> f64 {
        beta::quantile(1.0 - CONFIDENCE, 0.5 + self.exceeding, 0.5 + self.rest())
    }

    /// The share itself, 0 without requests.
    #[must_use]
    pub fn share(&self) -> f64 {
        if self.requests > 0.0 {
            self.exceeding / self.requests
        } else {
            0.0
        }
    }

    /// What these counts say about a share `allowed`. One distribution function instead of two quantiles.
    #[must_use]
    pub fn verdict(&self, allowed: f64) -> Verdict {
        let within = beta::cumulative(allowed, 0.5 + self.exceeding, 0.5 + self.rest());
        if within >= CONFIDENCE {
            Verdict::Met
        } else if within <= 1.0 - CONFIDENCE {
            Verdict::Violated
        } else {
            Verdict::Unknown
        }
    }

    /// Adds `other`.
    pub fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.exceeding += other.exceeding;
    }

    /// Both counts times `factor`.
    #[must_use]
    pub fn scaled(self, factor: f64) -> Self {
        Self {
            requests: self.requests * factor,
            exceeding: self.exceeding * factor,
        }
    }

    fn rest(&self) -> f64 {
        (self.requests - self.exceeding).max(0.0)
    }
}

impl From<(f64, f64)> for Counts {
    fn from((requests, exceeding): (f64, f64)) -> Self {
        Self {
            requests: requests.max(0.0),
            exceeding: exceeding.max(0.0),
        }
    }
}

impl From<Counts> for (f64, f64) {
    fn from(counts: Counts) -> Self {
        (counts.requests, counts.exceeding)
    }
}

/// The share of requests that an objective lets take longer.
#[must_use]
pub fn allowed(objective: &Objective) -> f64 {
    (1.0 - objective.percentile).max(1e-6)
}

/// The share that is `times` what is allowed, but at most halfway from there to every request: where half may take longer
/// nothing would ever be five times as much.
#[must_use]
pub fn beyond(objective: &Objective, times: f64) -> f64 {
    let allowed = allowed(objective);
    (allowed * times).min(allowed + 0.5 * (1.0 - allowed))
}

/// Counts of `histogram` against `objective`; what no edge decides is counted by what is likely.
#[must_use]
pub fn count(histogram: &Histogram, objective: &Objective) -> Counts {
    let exceedance = histogram.exceedance(objective.response_time_seconds);
    Counts {
        requests: exceedance.total as f64,
        exceeding: exceedance.exceeding as f64 + exceedance.likely * exceedance.undecided as f64,
    }
}

/// Counts of `histogram` against `objective` at best and at worst: they differ by what no edge decides.
fn extremes(histogram: &Histogram, objective: &Objective) -> [Counts; 2] {
    let exceedance = histogram.exceedance(objective.response_time_seconds);
    [0, exceedance.undecided].map(|more| Counts {
        requests: exceedance.total as f64,
        exceeding: (exceedance.exceeding + more) as f64,
    })
}

/// The last five minutes of one Deployment, window by window.
#[derive(Clone, Debug, Default)]
pub struct Recent {
    windows: VecDeque<(f64, Histogram)>,
}

impl Recent {
    /// Adds the window that ended at `at_seconds` and drops what is older than five minutes.
    pub fn add(&mut self, at_seconds: f64, histogram: &Histogram) {
        self.expire(at_seconds);
        self.windows.push_back((at_seconds, histogram.clone()));
    }

    /// Drops what is older than five minutes at `now_seconds`.
    pub fn expire(&mut self, now_seconds: f64) {
        while self
            .windows
            .front()
            .is_some_and(|(at, _)| *at <= now_seconds - RECENT_SECONDS)
        {
            self.windows.pop_front();
        }
    }

    /// The verdict of the newest windows that suffice for one: a violation of this minute is not averaged away by four
    /// good ones before it.
    #[must_use]
    pub fn verdict(&self, objective: &Objective) -> Verdict {
        self.first_verdict(objective, 1.0)
    }

    fn first_verdict(&self, objective: &Objective, dispersion: f64) -> Verdict {
        let mut sums = [Counts::default(); 2];
        for (_, histogram) in self.windows.iter().rev() {
            let counts = extremes(histogram, objective);
            for (sum, counts) in sums.iter_mut().zip(counts) {
                sum.add(counts.scaled(1.0 / dispersion));
            }
            // What the best and the worst case do not agree upon is not known.
            let best = sums[0].verdict(allowed(objective));
            let agreed = sums[0] == sums[1] || sums[1].verdict(allowed(objective)) == best;
            let verdict = if agreed { best } else { Verdict::Unknown };
            if verdict != Verdict::Unknown {
                return verdict;
            }
        }
        Verdict::Unknown
    }

    /// The verdict to act upon: like [`Recent::verdict`], but late requests come in clusters, so that `dispersion` of them
    /// count as one.
    #[must_use]
    pub fn sober_verdict(&self, objective: &Objective, dispersion: f64) -> Verdict {
        self.first_verdict(objective, dispersion)
    }

    /// Share of the last window's requests that took longer than the response time.
    #[must_use]
    pub fn latest_share(&self, objective: &Objective) -> f64 {
        self.windows
            .back()
            .map_or(0.0, |(_, histogram)| count(histogram, objective).share())
    }

    /// All of the windows in one.
    #[must_use]
    pub fn merged(&self) -> Histogram {
        let mut sum = Histogram::default();
        self.windows.iter().for_each(|(_, histogram)| sum.merge(histogram));
        sum
    }
}

/// How an objective has been kept over the last hour: counts that fade with that time constant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// Faded counts.
    pub counts: Counts,
    /// Faded seconds behind them.
    seconds: f64,
}

impl Budget {
    /// Adds a window of `seconds`.
    pub fn add(&mut self, counts: Counts, seconds: f64) {
        let keep = (-seconds / BUDGET_SECONDS).exp();
        self.counts = self.counts.scaled(keep);
        self.counts.add(counts);
        self.seconds = self.seconds * keep + seconds;
    }

    /// Share of the error budget that is left; negative when overspent, 1 without requests.
    #[must_use]
    pub fn left(&self, objective: &Objective) -> f64 {
        1.0 - self.counts.share() / allowed(objective)
    }

    /// The same for steering: two fifths are taken to be left before twenty minutes of measurements have shown
    /// better or worse.
    #[must_use]
    pub fn cautious_left(&self, objective: &Objective) -> f64 {
        let known = (self.seconds / PRIOR_SECONDS).min(1.0);
        self.left(objective).min(1.0) * known + PRIOR_LEFT * (1.0 - known)
    }

    /// The share above the response time to steer for, 0 to 1: a part of what is allowed, less as the budget is spent. It
    /// comes to rest where as much is spent as is steered for, at six tenths of what is allowed.
    #[must_use]
    pub fn steer(&self, objective: &Objective) -> f64 {
        allowed(objective) * (0.25 + 0.9 * self.cautious_left(objective)).clamp(0.35, 0.8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn p99() -> Objective {
        Objective {
            slo: "a".into(),
            percentile: 0.99,
            response_time_seconds: 0.1,
            throughput_per_second: None,
        }
    }

    fn counts(requests: f64, exceeding: f64) -> Counts {
        Counts { requests, exceeding }
    }

    #[test]
    fn certifying_p99_needs_a_few_hundred_requests() {
        assert_eq!(counts(100.0, 0.0).verdict(0.01), Verdict::Unknown);
        assert_eq!(counts(300.0, 0.0).verdict(0.01), Verdict::Met);
        assert_eq!(counts(300.0, 3.0).verdict(0.01), Verdict::Unknown);
        assert_eq!(counts(300.0, 8.0).verdict(0.01), Verdict::Violated);
        assert_eq!(counts(0.0, 0.0).verdict(0.01), Verdict::Unknown);
    }

    #[test]
    fn bounds_of_known_values() {
        // Jeffreys' upper bound for 0 of 300: qbeta(0.95, 0.5, 300.5).
        assert!(
            (counts(300.0, 0.0).upper() - 0.006_380).abs() < 2e-5,
            "{}",
            counts(300.0, 0.0).upper()
        );
        assert!(counts(1000.0, 10.0).lower() < 0.01 && counts(1000.0, 10.0).upper() > 0.01);
    }

    #[test]
    fn a_fresh_violation_is_not_averaged_away() {
        let good = Histogram {
            upper_bounds_seconds: [0.1].into(),
            counts: vec![2000, 1],
        };
        let bad = Histogram {
            upper_bounds_seconds: [0.1].into(),
            counts: vec![1900, 100],
        };
        let mut recent = Recent::default();
        (0..10).for_each(|window| recent.add(f64::from(window) * 15.0, &good));
        assert_eq!(recent.verdict(&p99()), Verdict::Met);
        recent.add(150.0, &bad);
        assert_eq!(recent.verdict(&p99()), Verdict::Violated);
        recent.expire(150.0 + 299.0);
        assert_eq!(recent.merged().total(), 2000);
    }

    #[test]
    fn several_times_what_is_allowed_can_be_exceeded() {
        let share = |percentile: f64, times: f64| beyond(&Objective { percentile, ..p99() }, times);
        assert!((share(0.99, 5.0) - 0.05).abs() < 1e-9);
        for percentile in [0.5, 0.75, 0.9] {
            assert!(share(percentile, 8.0) < 1.0 && share(percentile, 8.0) > 1.0 - percentile);
        }
    }

    #[test]
    fn without_an_edge_at_the_objective_nothing_is_sure() {
        let verdict = |upper_bounds_seconds: [f64; 2], counts: [u64; 3]| {
            let mut recent = Recent::default();
            let counts = counts.to_vec();
            recent.add(
                15.0,
                &Histogram {
                    upper_bounds_seconds: upper_bounds_seconds.into(),
                    counts,
                },
            );
            recent.verdict(&p99())
        };
        assert_eq!(verdict([0.09, 0.11], [2000, 100, 0]), Verdict::Unknown);
        assert_eq!(verdict([0.09, 0.11], [2000, 1, 0]), Verdict::Met);
        assert_eq!(verdict([0.09, 0.11], [2000, 0, 100]), Verdict::Violated);
        assert_eq!(verdict([0.1, 0.11], [2000, 100, 0]), Verdict::Violated);
    }

    #[test]
    fn a_spent_budget_steers_lower() {
        let spent = |exceeding: f64| {
            let mut budget = Budget::default();
            (0..80).for_each(|_| budget.add(counts(10_000.0, exceeding), 15.0));
            budget
        };
        assert!((spent(90.0).left(&p99()) - 0.1).abs() < 1e-9);
        assert!(spent(90.0).steer(&p99()) < 0.65 * Budget::default().steer(&p99()));
        assert!(spent(300.0).left(&p99()) < 0.0 && spent(300.0).steer(&p99()) > 0.0);
        assert!(spent(0.0).steer(&p99()) > Budget::default().steer(&p99()));
        assert!((spent(60.5).steer(&p99()) - 0.006_05).abs() < 1e-4, "comes to rest");
    }
}
