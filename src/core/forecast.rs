//! Load a little ahead: over one scrape, one decision and the time that a pod takes to start.
//!
//! Holt's linear trend, damped (Gardner and McKenzie, "Forecasting Trends in Time Series", Management Science 31(10),
//! 1985), in continuous time because windows are not evenly spaced. How far the load has lately outrun its forecast is
//! kept as a ring of logarithmic errors: their upper quantile is the headroom. A daily profile joins in only once it has
//! forecast better than the trend. The time constants are heuristics, tuned on generated and diurnal loads.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// Time constant of the level in seconds.
const LEVEL_SECONDS: f64 = 20.0;
/// Time constant of the trend in seconds.
const TREND_SECONDS: f64 = 90.0;
/// Time constant of the damping of the trend in seconds.
const DAMPING_SECONDS: f64 = 120.0;
/// Spacing of what is kept in seconds.
const SPACING_SECONDS: f64 = 15.0;
/// A load so many times, and so many standard deviations of a Poisson count above, the median of so many samples has jumped.
const JUMP: f64 = 1.35;
const CHANCE: f64 = 3.0;
const JUMP_SAMPLES: usize = (600.0 / SPACING_SECONDS) as usize;
/// Errors and loads kept: half an hour.
const KEPT: usize = 120;
/// How far beyond the highest load of the last half hour a surprise may lead.
const BEYOND_MOST: f64 = 1.05;
/// Errors before their quantile is used.
const ENOUGH: usize = 12;
/// Headroom while the errors are unknown: the logarithm of 1.1.
const UNKNOWN: f64 = 0.095;
/// Level, trend, errors and loads of the last half hour.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    level: f64,
    trend: f64,
    at: f64,
    /// Forecasts that wait for their instant: (instant, value).
    pending: VecDeque<(f64, f64)>,
    errors: VecDeque<f64>,
    loads: VecDeque<f64>,
    kept_at: f64,
    latest: f64,
}

impl Forecast {
    /// Takes in the load of the window of `window_seconds` that ended at `at_seconds`; `horizon_seconds` is how far ahead
    /// decisions look at present.
    pub fn learn(&mut self, at_seconds: f64, window_seconds: f64, load: f64, horizon_seconds: f64) {
        if self.at <= 0.0 {
            (self.level, self.at, self.kept_at) = (load, at_seconds, at_seconds);
        }
        let elapsed = (at_seconds - self.at)
            .clamp(0.0, 10.0 * DAMPING_SECONDS)
            .max(window_seconds.min(1.0));
        self.smooth(load, elapsed);
        self.latest = load;
        self.at = at_seconds;
        self.mature(at_seconds, load);
        if at_seconds - self.kept_at >= SPACING_SECONDS * 0.9 || self.loads.is_empty() {
            self.keep(at_seconds, load, horizon_seconds);
        }
    }

    /// Forecasts the load `ahead_seconds` after the last window. Never negative.
    #[must_use]
    pub fn ahead(&self, ahead_seconds: f64) -> f64 {
        let reach = DAMPING_SECONDS * (1.0 - (-ahead_seconds.max(0.0) / DAMPING_SECONDS).exp());
        (self.level + self.trend * reach).max(0.0)
    }

    /// The present load: the smoothed level, or the last window where that lies clearly above it.
    #[must_use]
    pub fn present(&self) -> f64 {
        if self.latest > self.level * 1.08 {
            self.latest
        } else {
            self.level.max(0.0)
        }
    }

    /// The load to provide for: what is expected ahead and never less than now.
    #[must_use]
    pub fn expected(&self, ahead_seconds: f64) -> f64 {
        self.present().max(self.ahead(ahead_seconds))
    }

    /// Factor, at least 1, by which the load outran the forecast in all but a share of `1 - cover` of the cases.
    #[must_use]
    pub fn headroom(&self, cover: f64) -> f64 {
        if self.errors.len() < ENOUGH {
            return UNKNOWN.exp();
        }
        quantile(&self.errors, cover.clamp(0.0, 1.0)).clamp(0.0, 1.1).exp()
    }

    /// The load to be ready for when `expected` is expected: with headroom for surprises, though for none that lead beyond
    /// what the last half hour brought, save a little.
    #[must_use]
    pub fn high(&self, expected: f64, cover: f64) -> f64 {
        let most = self.loads.iter().copied().fold(self.latest, f64::max);
        let likely = BEYOND_MOST * most;
        (expected * self.headroom(cover))
            .min(likely.max(expected * self.headroom(0.5)))
            .max(expected)
    }

    /// What becomes of `present` after a rise such as the last half hour brought within `ahead_seconds` in all but a share of `1 - cover` of the
    /// cases, though no higher than it was then, save a little. [`Forecast::high`] takes surprises as factors, which say
    /// nothing of a load that comes back from next to nothing.
    #[must_use]
    pub fn risen(&self, present: f64, ahead_seconds: f64, cover: f64) -> f64 {
        let steps = (ahead_seconds / SPACING_SECONDS).ceil().max(1.0) as usize;
        let later = self.loads.iter().skip(steps);
        let rises: VecDeque<f64> = self.loads.iter().zip(later).map(|(from, to)| to - from).collect();
        if rises.len() < ENOUGH {
            return 0.0;
        }
        let rise = quantile(&rises, cover.clamp(0.0, 1.0)).max(0.0);
        (present + rise).min(BEYOND_MOST * self.load_quantile(1.0))
    }

    /// The load of the last half hour that the share `share` of samples did not exceed, in requests per second.
    #[must_use]
    pub fn load_quantile(&self, share: f64) -> f64 {
        if self.loads.is_empty() {
            self.level
        } else {
            quantile(&self.loads, share)
        }
    }

    /// Whether the load has just jumped: it lies far above what it mostly was over the last ten minutes.
    #[must_use]
    pub fn jumped(&self) -> bool {
        let lately = self.loads.iter().rev().take(JUMP_SAMPLES).copied().collect();
        if self.loads.is_empty() {
            return false;
        }
        let median = quantile(&lately, 0.5);
        // A few requests more are chance: a Poisson count varies by its root.
        let chance = CHANCE * (median.max(1.0 / SPACING_SECONDS) / SPACING_SECONDS).sqrt();
        self.latest > (JUMP * median).max(median + chance)
    }

    /// The last window, in seconds since the Unix epoch; 0 if none.
    #[must_use]
    pub fn latest_at(&self) -> f64 {
        self.at
    }

    /// The clock was set back to `now`: nothing lies ahead of it.
    pub fn not_after(&mut self, now: f64) {
        (self.at, self.kept_at) = (self.at.min(now), self.kept_at.min(now));
        self.pending.clear();
    }

    /// Whether anything was measured.
    #[must_use]
    pub fn known(&self) -> bool {
        self.at > 0.0
    }

    fn smooth(&mut self, load: f64, elapsed: f64) {
        let reach = DAMPING_SECONDS * (1.0 - (-elapsed / DAMPING_SECONDS).exp());
        let predicted = (self.level + self.trend * reach).max(0.0);
        let level = predicted + (1.0 - (-elapsed / LEVEL_SECONDS).exp()) * (load - predicted);
        let slope = if elapsed > 0.0 {
            (level - self.level) / elapsed
        } else {
            0.0
        };
        self.trend *= (-elapsed / DAMPING_SECONDS).exp();
        self.trend += (1.0 - (-elapsed / TREND_SECONDS).exp()) * (slope - self.trend);
        self.level = level;
    }

    fn mature(&mut self, at_seconds: f64, load: f64) {
        while let Some(&(due, forecast)) = self.pending.front() {
            if due > at_seconds {
                break;
            }
            self.pending.pop_front();
            if at_seconds - due <= 2.0 * SPACING_SECONDS && forecast > 0.0 {
                push(&mut self.errors, (load.max(1e-9) / forecast).ln().max(-3.0));
            }
        }
    }

    fn keep(&mut self, at_seconds: f64, load: f64, horizon_seconds: f64) {
        self.kept_at = at_seconds;
        push(&mut self.loads, load);
        let expected = self.expected(horizon_seconds);
        push(&mut self.pending, (at_seconds + horizon_seconds, expected));
    }
}

fn push<T>(ring: &mut VecDeque<T>, value: T) {
    if ring.len() == KEPT {
        ring.pop_front();
    }
    ring.push_back(value);
}

fn quantile(values: &VecDeque<f64>, share: f64) -> f64 {
    let mut sorted: Vec<f64> = values.iter().copied().collect();
    let rank = ((sorted.len() - 1) as f64 * share).round() as usize;
    *sorted.select_nth_unstable_by(rank, f64::total_cmp).1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(load: impl Fn(f64) -> f64, until: u32) -> Forecast {
        let mut forecast = Forecast::default();
        for step in 1..=until {
            let at = 1000.0 + f64::from(step) * 15.0;
            forecast.learn(at, 15.0, load(at - 1000.0), 75.0);
        }
        forecast
    }

    #[test]
    fn a_constant_load_needs_hardly_any_headroom() {
        let forecast = run(|_| 100.0, 60);
        assert!((forecast.ahead(75.0) - 100.0).abs() < 0.1);
        assert!(forecast.headroom(0.97) < 1.05);
    }

    #[test]
    fn a_ramp_is_looked_ahead_of() {
        let forecast = run(|at| 100.0 + 0.2 * at, 200);
        let now = 100.0 + 0.2 * 3000.0;
        assert!(
            forecast.ahead(75.0) > now + 5.0 && forecast.ahead(75.0) < now + 16.0,
            "{}",
            forecast.ahead(75.0) - now
        );
        assert!(forecast.headroom(0.97) < 1.1);
    }

    #[test]
    fn bursts_raise_the_headroom() {
        let forecast = run(
            |at| {
                if (at as u32 / 60).is_multiple_of(5) {
                    200.0
                } else {
                    100.0
                }
            },
            120,
        );
        assert!(forecast.headroom(0.97) > 1.5, "{}", forecast.headroom(0.97));
    }

    #[test]
    fn a_load_has_jumped_until_most_of_ten_minutes_were_like_it() {
        let doubled = |windows: u32| run(|at| if at < 1500.0 { 100.0 } else { 200.0 }, 99 + windows).jumped();
        assert!(!doubled(0) && doubled(2) && doubled(15) && !doubled(30));
        assert!(!run(|at| 100.0 + at / 20.0, 100).jumped(), "a slow rise is no jump");
        let few = |count: f64| run(|at| if at < 1500.0 { 3.0 / 15.0 } else { count / 15.0 }, 100).jumped();
        assert!(!few(6.0) && few(15.0), "six requests where three are usual are chance");
    }

    #[test]
    fn a_load_that_goes_and_comes_back_is_provided_for_while_it_is_gone() {
        let forecast = run(
            |at| {
                if (at as u32 / 180).is_multiple_of(5) {
                    0.0
                } else {
                    100.0
                }
            },
            120 + 8,
        );
        assert!(forecast.present() < 5.0, "{}", forecast.present());
        let (high, risen) = (
            forecast.high(forecast.present(), 0.98),
            forecast.risen(forecast.present(), 75.0, 0.98),
        );
        assert!(high < 15.0 && risen > 90.0, "{high} {risen}");
        assert!(
            run(|_| 100.0, 120).risen(100.0, 75.0, 0.98) < 101.0,
            "a constant load does not rise"
        );
    }

    #[test]
    fn a_falling_trend_never_plans_below_the_present() {
        let forecast = run(|at| (1000.0 - at).max(0.0), 50);
        assert!(forecast.expected(75.0) >= forecast.present());
        assert!(forecast.ahead(1e6) >= 0.0);
    }

    #[test]
    fn a_gap_in_the_measurements_is_no_error_of_the_forecast() {
        let mut forecast = run(|_| 100.0, 40);
        forecast.learn(1000.0 + 600.0 + 900.0, 15.0, 300.0, 75.0);
        assert!(forecast.headroom(0.97) < 1.05 && forecast.present() > 250.0);
    }
}
