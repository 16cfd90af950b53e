//! What is learnt about one objective: evidence, safety table, curve and its bound.

use serde::{Deserialize, Serialize};

use super::conformal::Conformal;
use super::evidence::{self, Budget, Counts};
use super::histogram::Histogram;
use super::latency::{Fit, Shape};
use super::objective::Objective;
use super::safety::{Aim, Bin, Reach, Sample, Table};

/// Largest step beyond the utilisation that was seen to be safe, as a factor: with a spent error budget, and what the
/// whole budget adds.
const STEP: f64 = 1.2;
const STEP_BY_BUDGET: f64 = 0.25;
/// How many times what is allowed is bad enough to stay away from: once with a spent error budget, and what the whole adds.
const BAD_BY_BUDGET: f64 = 4.0;
/// Utilisation up to which a part of what the curve allows is believed without having been seen, once so many full samples
/// stand behind the curve.
const MODERATE: f64 = 0.5;
const MODERATELY: f64 = 0.8;
const MODERATE_SAMPLES: f64 = 3.0;
/// Share of windows that the curve is to hold for when it is planned by: with a spent budget, and what the whole takes off.
const LEVEL: f64 = 0.97;
const LEVEL_BY_BUDGET: f64 = 0.4;
/// Residuals that a checkpoint keeps.
const SAVED_RESIDUALS: usize = 32;
/// How fast the dispersion is learnt, and how large it may be.
const DISPERSION_GAIN: f64 = 0.05;
const MOST_DISPERSION: f64 = 20.0;
/// Longest time over which windows are put together into one sample, in seconds.
const LONGEST_SAMPLE_SECONDS: f64 = 300.0;

/// Everything about one objective.
#[derive(Clone, Debug, Default)]
pub struct Tracker {
    /// What was seen by utilisation.
    pub table: Table,
    /// The bound of the curve.
    pub conformal: Conformal,
    /// The error budget.
    pub budget: Budget,
    /// The curve as last fitted.
    pub fit: Option<Fit>,
    /// Samples so far, one with too few requests counted as a part.
    pub samples: f64,
    /// How much more the count of late requests varies than if each came alone, less one.
    excess: f64,
    gathering: Gathering,
}

/// Windows on their way to being one sample.
#[derive(Clone, Debug, Default)]
struct Gathering {
    histogram: Histogram,
    since: f64,
    weight: f64,
    utilisation: f64,
    trust: f64,
}

/// One window as a tracker sees it.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// End of the window, in seconds since the Unix epoch.
    pub at: f64,
    /// Its response times.
    pub latency: &'a Histogram,
    /// Utilisation of the pods' CPU requests.
    pub utilisation: f64,
    /// How typical it is, 0 to 1.
    pub trust: f64,
    /// Requests that make a sample, as a multiple of 1 / (1 - percentile).
    pub requests_per_sample: f64,
}

/// How high utilisation may be for one objective, and by what.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Safe {
    /// Utilisation of the CPU request.
    pub utilisation: f64,
    /// What the curve's upper bound alone allows.
    pub curve: f64,
    /// What the table says.
    pub reach: Reach,
}

impl Tracker {
    /// Learns one window. Windows with few requests are put together first.
    pub fn learn(&mut self, seen: &Seen<'_>, objective: &Objective, shape: &Shape) {
        let requests = seen.latency.total() as f64;
        if requests <= 0.0 {
            return;
        }
        let wanted = seen.requests_per_sample / evidence::allowed(objective);
        self.gathering.add(seen, requests);
        let full = self.gathering.weight >= wanted;
        if full || seen.at - self.gathering.since >= LONGEST_SAMPLE_SECONDS {
            let sample = std::mem::take(&mut self.gathering).sample(objective, wanted);
            self.take(&sample, objective, shape);
        }
    }

    /// Fits the curve to the table anew.
    pub fn refit(&mut self, shape: &Shape) {
        self.fit = Fit::new(self.table.bins(), shape);
    }

    /// Highest utilisation that keeps the objective: what was seen to be safe or what the curve's bound allows, but never
    /// further than a step beyond what was seen, nor near what was seen to be bad.
    #[must_use]
    pub fn safe(&self, objective: &Objective, shape: &Shape) -> Safe {
        let left = self.budget.cautious_left(objective).clamp(0.0, 1.0);
        let reach = self.table.reach(&Aim {
            steer: self.budget.steer(objective),
            allowed: evidence::allowed(objective),
            bad: evidence::beyond(objective, 1.0 + BAD_BY_BUDGET * left),
            step: STEP + STEP_BY_BUDGET * left,
            dispersion: self.dispersion(),
        });
        let bound = self.planning_factor(objective);
        let curve = self.fit.map_or(0.0, |fit| {
            fit.safe_utilisation(objective.response_time_seconds, bound, shape)
        });
        // Where nothing speaks against it the curve alone is believed up to a moderate utilisation.
        let moderate = if reach.bad.is_finite() || self.samples < MODERATE_SAMPLES {
            0.0
        } else {
            MODERATE.min(MODERATELY * curve)
        };
        Safe {
            utilisation: curve.max(reach.safe).min(reach.limit.max(moderate)),
            curve,
            reach,
        }
    }

    /// Factor over the curve that is planned by: a bound that holds the more often the less of the error budget is left.
    #[must_use]
    pub fn planning_factor(&self, objective: &Objective) -> f64 {
        let left = self.budget.cautious_left(objective).clamp(0.0, 1.0);
        self.conformal.factor_at(LEVEL - LEVEL_BY_BUDGET * left)
    }

    /// The application changed: what was seen says less.
    pub fn drift(&mut self) {
        self.table.fade(0.2);
        self.conformal.forget();
        self.samples = 0.0;
        self.gathering = Gathering::default();
    }

    /// The size of a pod became another one: what was seen holds at `factor` times its utilisation.
    pub fn rescale(&mut self, factor: f64) {
        self.table = self.table.rescaled(factor);
    }

    /// How many late requests come at once, on average: the variance of their number over that of a binomial count
    /// (McCullagh and Nelder, "Generalized Linear Models", 2nd ed., section 4.5).
    #[must_use]
    pub fn dispersion(&self) -> f64 {
        1.0 + self.excess
    }

    fn learn_dispersion(&mut self, sample: &Sample) {
        let Some(share) = self.table.expected(sample.utilisation).filter(|_| sample.trust > 0.5) else {
            return;
        };
        let expected = sample.counts.requests * share;
        if expected >= 0.5 {
            let squared = (sample.counts.exceeding - expected).powi(2) / (expected * (1.0 - share).max(0.01));
            self.excess += DISPERSION_GAIN * (squared.min(5.0 * MOST_DISPERSION) - 1.0 - self.excess);
            self.excess = self.excess.clamp(0.0, MOST_DISPERSION - 1.0);
        }
    }

    fn take(&mut self, sample: &Sample, objective: &Objective, shape: &Shape) {
        self.learn_dispersion(sample);
        // The percentile of fewer requests lies beyond all of them.
        let told = sample.counts.requests * evidence::allowed(objective) >= 0.99;
        if let Some(fit) = self.fit.filter(|_| sample.trust > 0.5 && told) {
            self.conformal
                .learn(sample.latency_seconds, fit.predict(sample.utilisation, shape));
        }
        self.table.add(sample, 30.0 / evidence::allowed(objective));
        self.samples += sample.trust * sample.fullness;
        self.refit(shape);
    }

    /// Everything that a checkpoint keeps.
    #[must_use]
    pub fn save(&self) -> SavedTracker {
        SavedTracker {
            table: self.table.save(),
            conformal: self.conformal.latest(SAVED_RESIDUALS),
            budget: self.budget,
            samples: self.samples,
            excess: self.excess,
        }
    }

    /// The tracker that [`Tracker::save`] described; its curve is fitted at the next refit.
    #[must_use]
    pub fn load(saved: SavedTracker) -> Self {
        Self {
            table: Table::load(&saved.table),
            conformal: saved.conformal,
            budget: saved.budget,
            samples: saved.samples,
            excess: saved.excess,
            ..Self::default()
        }
    }
}

/// A tracker in a checkpoint.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SavedTracker {
    table: Vec<(usize, Bin)>,
    conformal: Conformal,
    budget: Budget,
    samples: f64,
    excess: f64,
}

impl Gathering {
    fn add(&mut self, seen: &Seen<'_>, requests: f64) {
        if self.weight <= 0.0 {
            *self = Self {
                since: seen.at,
                ..Self::default()
            };
        }
        self.weight += requests;
        let step = requests / self.weight;
        self.utilisation += step * (seen.utilisation - self.utilisation);
        self.trust += step * (seen.trust - self.trust);
        self.histogram.merge(seen.latency);
    }

    fn sample(self, objective: &Objective, wanted: f64) -> Sample {
        let counts: Counts = evidence::count(&self.histogram, objective);
        let quantile = self.histogram.quantile(objective.percentile).unwrap_or(0.0);
        Sample {
            utilisation: self.utilisation,
            counts,
            latency_seconds: quantile * beyond_the_longest(self.weight, objective.percentile),
            trust: self.trust,
            fullness: (self.weight / wanted).min(1.0),
        }
    }
}

/// How far a percentile lies beyond the longest of `requests`. That stands at the quantile N / (N + 1) of its distribution
/// (David and Nagaraja, "Order Statistics", 3rd ed., section 2.3), which for few requests is far below the percentile; from
/// there on the tail is taken to be exponential.
fn beyond_the_longest(requests: f64, percentile: f64) -> f64 {
    let tail = (1.0 - percentile).max(1e-6);
    if requests * tail >= 1.0 {
        return 1.0;
    }
    (-tail.ln() / (requests + 1.0).ln()).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tracker of p99 that saw `windows` of `requests` at 2% of the request, five minutes apart.
    fn tracker(windows: u32, requests: u64) -> Safe {
        let objective = crate::core::toy::objective();
        let shape = Shape {
            request: 1.0,
            limit: 2.0,
            capacity: 1.0,
            per_request: 0.01,
            idle: 0.0,
            percentile: objective.percentile,
        };
        let mut tracker = Tracker::default();
        let latency = Histogram {
            upper_bounds_seconds: [0.01, 0.02, 0.2].into(),
            counts: vec![0, requests, 0, 0],
        };
        for window in 0..2 * windows {
            let seen = Seen {
                at: 300.0 * f64::from(window),
                latency: &latency,
                utilisation: 0.02,
                trust: 1.0,
                requests_per_sample: 3.0,
            };
            tracker.learn(&seen, &objective, &shape);
        }
        tracker.safe(&objective, &shape)
    }

    #[test]
    fn a_handful_of_requests_does_not_lead_far_beyond_what_was_seen() {
        let few = tracker(12, 3).utilisation;
        assert!(few <= 0.05, "{few} after {} requests at 2%", 12 * 3);
        assert!(tracker(12, 3000).utilisation >= 0.3);
    }

    #[test]
    fn the_longest_of_a_few_is_short_of_the_percentile() {
        assert!((beyond_the_longest(3.0, 0.99) - 100_f64.ln() / 4_f64.ln()).abs() < 1e-9);
        assert!((beyond_the_longest(100.0, 0.99) - 1.0).abs() < 1e-12);
        assert!((beyond_the_longest(3.0, 0.5) - 1.0).abs() < 1e-12);
    }
}
