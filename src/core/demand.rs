//! CPU demand of a pod: u = u0 + D * lambda, with lambda its requests per second and D core-seconds a request.
//!
//! Recursive least squares with exponential forgetting (Ljung, "System Identification", 2nd ed., section 11.2), kept as
//! faded sums of the normal equations. Two things differ from the textbook, both heuristics: a faded pseudo-observation
//! at the origin keeps u0 from drifting while the load stands still, and an observation far from the line is held back
//! until eight in a row say the same of it while the load stands still (then the application has changed: drift). The same:
//! code that needs more needs it of every request, while CPU that a busy node withholds is missing now more, now less.

use serde::{Deserialize, Serialize};

/// How much an observation keeps of its weight when the next one comes.
const KEEP: f64 = 0.97;
/// Weight of the pseudo-observation (no load, no CPU) in observations.
const ORIGIN_WEIGHT: f64 = 0.5;
/// Residuals beyond this many typical residuals are outliers.
const GATE: f64 = 4.0;
/// Outliers of one sign in a row that mean drift, each counted by its trust: while the load moves, a CPU figure that lags
/// behind it lies on one side of the line without any change of the application.
const DRIFT_RUN: f64 = 8.0;
/// How far outliers of one change may lie apart, as the ratio of the largest to the smallest multiple of the line.
const SAME: f64 = 1.5;
/// Weight of an outlier that says something else than those before it: should they go on, the line follows in the end.
const ERRATIC: f64 = 0.1;
/// Observations after a change until which the old line is scaled: so few lie too close together for a line of their own.
const SCALED: f64 = 40.0;
/// Observations before the line is used.
const ENOUGH: f64 = 3.0;

/// The learnt line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Demand {
    weight: f64,
    x: f64,
    y: f64,
    xx: f64,
    xy: f64,
    /// Faded mean of the absolute relative residual.
    spread: f64,
    /// Run of outliers, trust weighted: positive when CPU lies above the line.
    run: f64,
    /// Smallest and largest multiple of the line in that run.
    #[serde(skip)]
    span: (f64, f64),
    observations: f64,
    /// The line before the application changed: idle and per request; its shape is kept while the new one is scaled.
    before: Option<(f64, f64)>,
}

/// What an observation did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learnt {
    /// It moved the line.
    Taken,
    /// It lay too far off and was held back.
    HeldBack,
    /// It was the last of many far off on one side: the line starts anew from here.
    Drift,
}

impl Demand {
    /// Learns that a pod with `load` requests per second used `cpu` cores. `trust` (0 to 1) is low where the two may not
    /// belong to the same instant.
    pub fn learn(&mut self, load: f64, cpu: f64, trust: f64) -> Learnt {
        if !(load.is_finite() && cpu.is_finite()) || load < 0.0 || cpu < 0.0 {
            return Learnt::HeldBack;
        }
        if self.known() {
            let predicted = self.cpu(load);
            let residual = (cpu - predicted) / predicted.max(1e-3);
            if residual.abs() > GATE * self.spread.max(0.04) {
                return self.outlier(load, cpu, trust * residual.signum(), cpu / predicted.max(1e-3));
            }
            self.spread += 0.1 * trust * (residual.abs() - self.spread);
        }
        self.run = 0.0;
        self.take(load, cpu, trust);
        Learnt::Taken
    }

    /// Learns without a gate: every observation moves the line.
    pub fn follow(&mut self, load: f64, value: f64) {
        self.take(load, value, 1.0);
    }

    /// The application has changed: only the shape of the line is kept, and scaled to what comes.
    pub fn forget(&mut self) {
        let before = (self.weight > 0.0).then(|| self.line()).filter(|line| line.1 > 0.0);
        *self = Self {
            spread: self.spread.max(0.1),
            before: before.or(self.before),
            ..Self::default()
        };
    }

    /// Whether enough was seen to use the line.
    #[must_use]
    pub fn known(&self) -> bool {
        self.observations >= ENOUGH && self.weight > 0.0
    }

    /// Observations since the start or the last change, trust weighted.
    #[must_use]
    pub fn observations(&self) -> f64 {
        self.observations
    }

    /// Core-seconds a request, at least zero.
    #[must_use]
    pub fn per_request(&self) -> f64 {
        self.line().1
    }

    /// Cores used without any load, at least zero.
    #[must_use]
    pub fn idle(&self) -> f64 {
        self.line().0
    }

    /// Cores that a pod with `load` requests per second uses.
    #[must_use]
    pub fn cpu(&self, load: f64) -> f64 {
        let (idle, per_request) = self.line();
        idle + per_request * load
    }

    fn take(&mut self, load: f64, cpu: f64, trust: f64) {
        let keep = 1.0 - (1.0 - KEEP) * trust;
        self.weight = self.weight * keep + trust;
        self.x = self.x * keep + trust * load;
        self.y = self.y * keep + trust * cpu;
        self.xx = self.xx * keep + trust * load * load;
        self.xy = self.xy * keep + trust * load * cpu;
        self.observations += trust;
    }

    /// An outlier at `multiple` times the line, with its trust signed by the side that it lies on.
    fn outlier(&mut self, load: f64, cpu: f64, weight: f64, multiple: f64) -> Learnt {
        let (least, most) = (self.span.0.min(multiple), self.span.1.max(multiple));
        let goes_on = self.run * weight > 0.0;
        if goes_on && most <= SAME * least {
            self.run += weight;
            self.span = (least, most);
        } else {
            if goes_on {
                self.take(load, cpu, ERRATIC * weight.abs());
            }
            self.run = weight;
            self.span = (multiple, multiple);
        }
        if self.run.abs() < DRIFT_RUN {
            return Learnt::HeldBack;
        }
        self.forget();
        self.take(load, cpu, 1.0);
        Learnt::Drift
    }

    fn line(&self) -> (f64, f64) {
        match self.before {
            Some(before) if self.observations < SCALED => self.scaled(before),
            _ => self.fitted(),
        }
    }

    /// The line from before the change times what CPU has grown by since.
    fn scaled(&self, (idle, per_request): (f64, f64)) -> (f64, f64) {
        let expected = idle * self.weight + per_request * self.x;
        let scale = if expected > 0.0 { self.y / expected } else { 1.0 };
        (idle * scale, per_request * scale)
    }

    fn fitted(&self) -> (f64, f64) {
        let weight = self.weight + ORIGIN_WEIGHT;
        let spread = weight * self.xx - self.x * self.x;
        if self.xx <= 0.0 || spread <= 0.0 {
            return (if weight > 0.0 { self.y / weight } else { 0.0 }, 0.0);
        }
        let slope = (weight * self.xy - self.x * self.y) / spread;
        let idle = (self.y - slope * self.x) / weight;
        if idle < 0.0 {
            (0.0, (self.xy / self.xx).max(0.0))
        } else if slope < 0.0 {
            (self.y / weight, 0.0)
        } else {
            (idle, slope)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn learns_the_line() {
        let mut demand = Demand::default();
        for step in 0..200 {
            let load = 10.0 + f64::from(step % 17);
            assert_eq!(demand.learn(load, 0.05 + 0.01 * load, 1.0), Learnt::Taken);
        }
        assert!((demand.cpu(20.0) - 0.25).abs() < 0.01, "{}", demand.cpu(20.0));
        assert!((demand.per_request() - 0.01).abs() < 0.002, "{}", demand.per_request());
    }

    #[test]
    fn a_standing_load_is_predicted_where_it_stands() {
        let mut demand = Demand::default();
        (0..100).for_each(|_| {
            demand.learn(50.0, 0.5, 1.0);
        });
        assert!((demand.cpu(50.0) - 0.5).abs() < 0.01);
        assert!((demand.cpu(75.0) - 0.75).abs() < 0.02);
    }

    #[test]
    fn one_outlier_changes_nothing_and_eight_mean_drift() {
        let mut demand = Demand::default();
        (0..50).for_each(|_| {
            demand.learn(50.0, 0.5, 1.0);
        });
        let before = demand.cpu(50.0);
        assert_eq!(demand.learn(50.0, 2.0, 1.0), Learnt::HeldBack);
        assert!((demand.cpu(50.0) - before).abs() < 1e-12);
        demand.learn(50.0, 0.5, 1.0);
        let last = (0..8).map(|_| demand.learn(50.0, 0.75, 1.0)).last();
        assert_eq!(last, Some(Learnt::Drift));
        (0..5).for_each(|_| {
            demand.learn(50.0, 0.75, 1.0);
        });
        assert!((demand.cpu(50.0) - 0.75).abs() < 0.08, "{}", demand.cpu(50.0));
    }

    #[test]
    fn a_figure_that_lags_behind_a_moving_load_is_no_drift() {
        let mut demand = Demand::default();
        (0..50).for_each(|_| {
            demand.learn(50.0, 0.5, 1.0);
        });
        let moving: Vec<Learnt> = (0..20).map(|_| demand.learn(80.0, 0.5, 0.2)).collect();
        assert_eq!(moving.iter().position(|learnt| *learnt == Learnt::Drift), None);
        assert!((demand.cpu(50.0) - 0.5).abs() < 0.01, "{}", demand.cpu(50.0));
        let settled: Vec<Learnt> = (0..8).map(|_| demand.learn(50.0, 0.75, 1.0)).collect();
        assert_eq!(settled.last(), Some(&Learnt::Drift));
    }

    #[test]
    fn cpu_that_a_starved_node_withholds_is_no_drift() {
        let mut demand = Demand::default();
        (0..50).for_each(|_| {
            demand.learn(50.0, 0.5, 1.0);
        });
        let withheld = [0.4, 0.2, 0.35, 0.15, 0.3, 0.1].iter().cycle();
        let learnt: Vec<Learnt> = withheld.take(40).map(|cpu| demand.learn(50.0, *cpu, 1.0)).collect();
        assert!(!learnt.contains(&Learnt::Drift), "{learnt:?}");
        // It follows all the same, should it go on for ever.
        assert!(demand.cpu(50.0) < 0.5);
    }

    proptest! {
        #[test]
        fn never_negative(pairs in prop::collection::vec((0.0_f64..100.0, 0.0_f64..4.0), 1..60)) {
            let mut demand = Demand::default();
            for (load, cpu) in pairs {
                demand.learn(load, cpu, 1.0);
                prop_assert!(demand.idle() >= 0.0 && demand.per_request() >= 0.0);
                prop_assert!(demand.cpu(10.0) <= demand.cpu(20.0));
            }
        }
    }
}
