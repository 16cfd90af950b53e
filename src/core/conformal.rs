//! An upper bound of the next latency from how far the last ones lay above the prediction.
//!
//! One-sided split-conformal bound on the logarithmic residual (Vovk, Gammerman and Shafer, "Algorithmic Learning in a
//! Random World", 2005), over the latest residuals, with the level adapted so that the bound keeps its coverage when
//! the application drifts (Gibbs and Candes, "Adaptive Conformal Inference Under Distribution Shift", NeurIPS 2021).

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// Share of windows that the bound is to cover.
const COVERAGE: f64 = 0.96;
/// Residuals that are kept.
const RESIDUALS: usize = 64;
/// How fast the level adapts (gamma of Gibbs and Candes).
const ADAPTATION: f64 = 0.02;
/// Margin while too few residuals are known: the logarithm of a factor of two.
const UNKNOWN: f64 = std::f64::consts::LN_2;
/// Residuals before the bound counts as checked.
pub const ENOUGH: usize = 4;

/// The latest residuals and the level in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conformal {
    residuals: VecDeque<f64>,
    miss_rate: f64,
    /// Faded counts of windows and of those within the bound.
    windows: f64,
    covered: f64,
}

impl Default for Conformal {
    fn default() -> Self {
        Self {
            residuals: VecDeque::new(),
            miss_rate: 1.0 - COVERAGE,
            windows: 0.0,
            covered: 0.0,
        }
    }
}

impl Conformal {
    /// Learns that `observed` seconds came where `predicted` seconds were expected.
    pub fn learn(&mut self, observed: f64, predicted: f64) {
        let residual = (observed.max(1e-6) / predicted.max(1e-6)).ln();
        if !residual.is_finite() {
            return;
        }
        if self.checked() {
            self.judge(residual <= self.margin());
        }
        if self.residuals.len() == RESIDUALS {
            self.residuals.pop_front();
        }
        self.residuals.push_back(residual);
    }

    /// The factor, at least 1, by which the upper bound lies above the prediction.
    #[must_use]
    pub fn factor(&self) -> f64 {
        self.margin().max(0.0).exp()
    }

    /// The factor that a share `level` of the latest residuals stayed within; at least 1 and at most [`Conformal::factor`].
    #[must_use]
    pub fn factor_at(&self, level: f64) -> f64 {
        if !self.checked() {
            return self.factor();
        }
        let mut sorted: Vec<f64> = self.residuals.iter().copied().collect();
        let rank = ((sorted.len() - 1) as f64 * level.clamp(0.0, 1.0)).round() as usize;
        sorted
            .select_nth_unstable_by(rank, f64::total_cmp)
            .1
            .exp()
            .clamp(1.0, self.factor())
    }

    /// Whether residuals enough were seen for the bound to mean something.
    #[must_use]
    pub fn checked(&self) -> bool {
        self.residuals.len() >= ENOUGH
    }

    /// Share of the latest windows that lay within their bound, if any were checked.
    #[must_use]
    pub fn coverage(&self) -> Option<f64> {
        (self.windows > 0.0).then(|| self.covered / self.windows)
    }

    /// The same with only the latest residuals.
    #[must_use]
    pub fn latest(&self, count: usize) -> Self {
        let skip = self.residuals.len().saturating_sub(count);
        Self {
            residuals: self.residuals.iter().skip(skip).copied().collect(),
            ..self.clone()
        }
    }

    /// Forgets the older half of the residuals: the application has changed.
    pub fn forget(&mut self) {
        let drop = self.residuals.len() / 2;
        self.residuals.drain(..drop);
    }

    fn judge(&mut self, within: bool) {
        let missed = if within { 0.0 } else { 1.0 };
        self.miss_rate = (self.miss_rate + ADAPTATION * (1.0 - COVERAGE - missed)).clamp(0.005, 0.15);
        self.windows = self.windows * 0.995 + 1.0;
        self.covered = self.covered * 0.995 + 1.0 - missed;
    }

    /// The conformal quantile: of n residuals the ceil((n + 1)(1 - miss rate))-th smallest; beyond the largest one, that
    /// one and a little more.
    fn margin(&self) -> f64 {
        if self.residuals.len() < ENOUGH {
            return UNKNOWN;
        }
        let mut sorted: Vec<f64> = self.residuals.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        let rank = ((sorted.len() + 1) as f64 * (1.0 - self.miss_rate)).ceil() as usize;
        let largest = sorted[sorted.len() - 1];
        if rank <= sorted.len() {
            sorted[rank - 1]
        } else {
            largest + 0.25 * largest.abs().max(0.05)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A fixed sequence of normal-ish numbers (sum of twelve uniforms of a linear congruential generator).
    fn noise(seed: &mut u64) -> f64 {
        let mut sum = -6.0;
        for _ in 0..12 {
            *seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            sum += (*seed >> 11) as f64 / (1_u64 << 53) as f64;
        }
        sum
    }

    #[test]
    fn covers_what_it_says() {
        let (mut conformal, mut seed) = (Conformal::default(), 7);
        let mut covered = 0;
        for step in 0..2000 {
            let observed = 0.05 * (0.2 * noise(&mut seed)).exp();
            if step >= 100 && observed <= 0.05 * conformal.factor() {
                covered += 1;
            }
            conformal.learn(observed, 0.05);
        }
        let share = f64::from(covered) / 1900.0;
        assert!((0.93..0.99).contains(&share), "{share}");
        assert!((conformal.coverage().unwrap_or(0.0) - share).abs() < 0.04);
    }

    #[test]
    fn recovers_its_coverage_after_a_shift() {
        let (mut conformal, mut seed) = (Conformal::default(), 3);
        (0..200).for_each(|_| conformal.learn(0.05 * (0.1 * noise(&mut seed)).exp(), 0.05));
        (0..64).for_each(|_| conformal.learn(0.08 * (0.1 * noise(&mut seed)).exp(), 0.05));
        assert!(conformal.factor() > 1.6);
        let mut covered = 0;
        for _ in 0..1000 {
            let observed = 0.08 * (0.1 * noise(&mut seed)).exp();
            covered += u32::from(observed <= 0.05 * conformal.factor());
            conformal.learn(observed, 0.05);
        }
        assert!((930..990).contains(&covered), "{covered} of 1000");
    }

    #[test]
    fn is_cautious_while_it_knows_nothing() {
        assert!((Conformal::default().factor() - 2.0).abs() < 1e-9);
    }
}
