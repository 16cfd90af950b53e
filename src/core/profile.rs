//! A daily profile of the load, used once it has forecast better than the trend.
//!
//! Seasonal indices by slot of the day, smoothed from day to day (the seasonal part of Holt and Winters: Winters,
//! "Forecasting Sales by Exponentially Weighted Moving Averages", Management Science 6(3), 1960). What it must prove
//! first is a heuristic: slots seen on two days, and 96 forecasts come due, one horizon apart, that missed
//! by less than four fifths of what the trend missed by.

use serde::{Deserialize, Serialize};

/// Slots of a season: a quarter of an hour each in a day.
const SLOTS: usize = 96;
/// Forecasts that must have come due before any is used.
const JUDGEMENTS: f64 = 96.0;
/// Slots that must have been seen before the day's loads say more than those of the last half hour: two hours.
const TELLING: usize = 8;
/// What a new day weighs.
const NEW_DAY: f64 = 0.4;

/// Mean load by slot, and how well it forecast.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    slots: Vec<f64>,
    days: Vec<u8>,
    slot: usize,
    sum: f64,
    count: f64,
    error: f64,
    trend_error: f64,
    judged: f64,
    /// A forecast that waits: (instant, by the profile, by the trend).
    pending: Option<(f64, f64, f64)>,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            slots: vec![0.0; SLOTS],
            days: vec![0; SLOTS],
            slot: 0,
            sum: 0.0,
            count: 0.0,
            error: 0.0,
            trend_error: 0.0,
            judged: 0.0,
            pending: None,
        }
    }
}

impl Profile {
    /// Takes in `load` at an instant; `trend` is what the trend forecasts `horizon_seconds` ahead.
    pub fn learn(&mut self, at_seconds: f64, season_seconds: f64, load: f64, trend: f64, horizon_seconds: f64) {
        self.judge(at_seconds, load);
        if self.pending.is_none() {
            self.pending = self
                .ahead(at_seconds, season_seconds, load, horizon_seconds)
                .map(|profile| (at_seconds + horizon_seconds, profile, trend));
        }
        let slot = slot_of(at_seconds, season_seconds);
        if slot != self.slot {
            self.close();
            self.slot = slot;
        }
        self.sum += load;
        self.count += 1.0;
    }

    /// The load expected `ahead_seconds` after an instant at which it is `load`, when the profile has proven itself.
    #[must_use]
    pub fn proven(&self, at_seconds: f64, season_seconds: f64, load: f64, ahead_seconds: f64) -> Option<f64> {
        let proven = self.judged >= JUDGEMENTS && self.error < 0.8 * self.trend_error;
        if proven {
            self.ahead(at_seconds, season_seconds, load, ahead_seconds)
        } else {
            None
        }
    }

    /// Loads of the day so far, slot by slot in ascending order; empty before so much of it was seen that it says more than the
    /// last half hour.
    #[must_use]
    pub fn loads(&self) -> Vec<f64> {
        let seen = self.slots.iter().zip(&self.days).filter(|(_, days)| **days > 0);
        let mut loads: Vec<f64> = seen.map(|(load, _)| *load).collect();
        if loads.len() < TELLING {
            return Vec::new();
        }
        loads.sort_unstable_by(f64::total_cmp);
        loads
    }

    /// The clock was set back: no forecast waits for an instant that is far off now.
    pub fn forget_pending(&mut self) {
        self.pending = None;
    }

    /// Whether a whole slot was seen.
    #[must_use]
    pub fn worth_keeping(&self) -> bool {
        self.days.iter().any(|&days| days > 0)
    }

    /// Whether every number is usable.
    #[must_use]
    pub fn valid(&self) -> bool {
        self.slots.len() == SLOTS && self.days.len() == SLOTS && self.slot < SLOTS
    }

    fn ahead(&self, at: f64, season: f64, load: f64, ahead: f64) -> Option<f64> {
        let (now, then) = (self.mean(at, season)?, self.mean(at + ahead, season)?);
        (now > 0.0).then(|| load * (then / now).clamp(0.2, 5.0))
    }

    /// The profile between the middles of two slots, once both have been seen on two days.
    fn mean(&self, at: f64, season: f64) -> Option<f64> {
        let position = (at / season).rem_euclid(1.0) * SLOTS as f64 - 0.5;
        let first = position.floor().rem_euclid(SLOTS as f64) as usize % SLOTS;
        let second = (first + 1) % SLOTS;
        let part = position - position.floor();
        let seen = self.days[first] >= 2 && self.days[second] >= 2;
        seen.then(|| self.slots[first] + part * (self.slots[second] - self.slots[first]))
    }

    fn judge(&mut self, at: f64, load: f64) {
        let Some((due, profile, trend)) = self.pending else {
            return;
        };
        if at < due {
            return;
        }
        self.pending = None;
        let weight = (1.0 / (self.judged + 1.0)).max(0.01);
        self.error += weight * ((profile - load).abs() - self.error);
        self.trend_error += weight * ((trend - load).abs() - self.trend_error);
        self.judged += 1.0;
    }

    fn close(&mut self) {
        if self.count > 0.0 {
            let mean = self.sum / self.count;
            let weight = if self.days[self.slot] == 0 { 1.0 } else { NEW_DAY };
            self.slots[self.slot] += weight * (mean - self.slots[self.slot]);
            self.days[self.slot] = self.days[self.slot].saturating_add(1);
        }
        (self.sum, self.count) = (0.0, 0.0);
    }
}

fn slot_of(at: f64, season: f64) -> usize {
    (((at / season).rem_euclid(1.0) * SLOTS as f64) as usize).min(SLOTS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: f64 = 86_400.0;

    fn load(at: f64) -> f64 {
        100.0 + 80.0 * (at / DAY * std::f64::consts::TAU).sin()
    }

    #[test]
    fn a_profile_proves_itself_in_days_and_then_looks_ahead() {
        let mut profile = Profile::default();
        for step in 0..(4 * 960) {
            let at = f64::from(step) * 90.0;
            if step < 2 * 960 {
                assert_eq!(profile.proven(at, DAY, load(at), 1800.0), None);
            }
            profile.learn(at, DAY, load(at), load(at), 600.0);
        }
        let at = 4.0 * DAY;
        let ahead = profile.proven(at, DAY, load(at), 1800.0).unwrap_or(0.0);
        assert!((ahead / load(at + 1800.0) - 1.0).abs() < 0.05, "{ahead}");
    }

    #[test]
    fn a_load_without_a_season_never_proves_one() {
        let mut profile = Profile::default();
        let mut seed = 1_u64;
        for step in 0..(6 * 960) {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = f64::from(step) * 90.0;
            profile.learn(at, DAY, 50.0 + (seed >> 33) as f64 / 4e7, 75.0, 600.0);
        }
        assert_eq!(profile.proven(6.0 * DAY, DAY, 100.0, 600.0), None);
    }
}
