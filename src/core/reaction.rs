//! What to do about a violation that the load does not explain: try more capacity, twice, and stop if it does not help.
//!
//! Everything here is a heuristic. The model may be wrong in ways that only the objective itself shows; a fifth to a third
//! more capacity is the cheapest experiment. A slow dependency looks the same at first, but more pods do not cure it:
//! after two steps without improvement the objective is called unattainable and the extra capacity is given back.

use serde::{Deserialize, Serialize};

/// Capacity of a step, as a factor.
const STEP: f64 = 1.3;
/// A step helped when it brought the share above the response time below this share of what it was.
const HELPED: f64 = 0.75;
/// Steps without help after which no more is spent.
const TRIES: u32 = 2;
/// A violation is let pass while more than this share of the error budget is left, it is not severe, and it is younger than
/// this.
const PASSING_BUDGET: f64 = 0.3;
const PASSING_SECONDS: f64 = 60.0;
/// How many times what is allowed is severe.
pub const SEVERE: f64 = 8.0;
/// Violations nearer to each other than this are one, in seconds.
const PAUSE_SECONDS: f64 = 40.0;
/// Most that is tried, as a multiple of what the load alone needs: more than that no queue for CPU explains.
const MOST: f64 = 1.5;
/// How long the objective must hold before the extra capacity is let go, in seconds, besides the response time itself: what
/// ends now was begun so long ago.
const CALM_SECONDS: f64 = 240.0;

/// Steps taken so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reaction {
    floor: u32,
    failures: u32,
    /// When the last step was taken and how bad it was then.
    step: Option<(f64, f64)>,
    violated_at: f64,
    violated_since: f64,
}

/// The situation at a decision.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Situation {
    /// Now, in seconds since the Unix epoch.
    pub now: f64,
    /// Whether an objective is surely violated by the newest windows.
    pub violated: bool,
    /// Whether load explains it: pods are busier than they should be, and more were asked for.
    pub explained: bool,
    /// The share above the response time over what is allowed, of the worst objective.
    pub severity: f64,
    /// Whether that share is too large to be let pass, be the violation ever so young.
    pub severe: bool,
    /// Share of the error budget that is left: while much is, a passing violation is let pass.
    pub budget_left: f64,
    /// Whether pods are still on their way or have only just arrived.
    pub unsettled: bool,
    /// The longest response time asked for, in seconds.
    pub response_seconds: f64,
    /// Replicas in force.
    pub current: u32,
    /// Replicas that the load needs at the utilisation that held before.
    pub by_load: u32,
}

impl Reaction {
    /// Takes in the situation; `true` when an episode of violation has just begun.
    pub fn consider(&mut self, situation: &Situation) -> bool {
        if !situation.violated {
            if situation.now - self.violated_at >= CALM_SECONDS + situation.response_seconds {
                *self = Self {
                    violated_at: self.violated_at,
                    ..Self::default()
                };
            }
            return false;
        }
        if situation.now - self.violated_at > PAUSE_SECONDS {
            self.violated_since = situation.now;
        }
        self.violated_at = situation.now;
        if self.bearable(situation) || situation.explained || situation.unsettled || self.unattainable() {
            return false;
        }
        let begun = self.step.is_none();
        self.judge(situation);
        begun
    }

    /// Replicas not to go below.
    #[must_use]
    pub fn floor(&self) -> u32 {
        if self.unattainable() { 0 } else { self.floor }
    }

    /// Whether an episode of violation that load does not explain is under way: what is seen in it says nothing about
    /// utilisation.
    #[must_use]
    pub fn active(&self) -> bool {
        self.step.is_some()
    }

    /// Whether more capacity has not helped.
    #[must_use]
    pub fn unattainable(&self) -> bool {
        self.failures >= TRIES
    }

    /// The application changed: what was tried before says nothing.
    pub fn forget(&mut self) {
        *self = Self {
            violated_at: self.violated_at,
            ..Self::default()
        };
    }

    /// When the objective was last violated, in seconds since the Unix epoch; 0 if never.
    #[must_use]
    pub fn latest(&self) -> f64 {
        self.violated_at
    }

    /// The clock was set back to `now`: nothing lies ahead of it.
    pub fn not_after(&mut self, now: f64) {
        (self.violated_at, self.violated_since) = (self.violated_at.min(now), self.violated_since.min(now));
        self.step = self.step.map(|(at, severity)| (at.min(now), severity));
    }

    /// Whether the violation is slight and short, and the error budget can pay for it.
    fn bearable(&self, situation: &Situation) -> bool {
        situation.budget_left > PASSING_BUDGET
            && !situation.severe
            && situation.now - self.violated_since < PASSING_SECONDS
    }

    fn judge(&mut self, situation: &Situation) {
        if let Some((_, before)) = self.step {
            let helped = situation.severity < HELPED * before;
            self.failures = if helped { 0 } else { self.failures + 1 };
        }
        if !self.unattainable() {
            let more = ((f64::from(situation.current) * STEP).round() as u32).max(situation.current + 1);
            let most = (f64::from(situation.by_load) * MOST).ceil() as u32;
            self.floor = more.min(most.max(situation.current));
            self.step = Some((situation.now, situation.severity));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violated(now: f64, severity: f64, current: u32) -> Situation {
        Situation {
            now,
            violated: true,
            explained: false,
            severity,
            severe: severity >= SEVERE,
            budget_left: 0.0,
            unsettled: false,
            response_seconds: 0.1,
            current,
            by_load: current,
        }
    }

    #[test]
    fn two_steps_without_help_are_enough() {
        let mut reaction = Reaction::default();
        assert!(reaction.consider(&violated(100.0, 30.0, 4)));
        assert_eq!(reaction.floor(), 5);
        assert!(!reaction.consider(&violated(160.0, 29.0, 6)));
        assert_eq!((reaction.floor(), reaction.unattainable()), (8, false));
        reaction.consider(&violated(220.0, 31.0, 8));
        assert_eq!((reaction.floor(), reaction.unattainable()), (0, true));
        reaction.consider(&Situation {
            violated: false,
            ..violated(300.0, 0.0, 4)
        });
        assert!(reaction.unattainable());
        reaction.consider(&Situation {
            violated: false,
            ..violated(500.0, 0.0, 4)
        });
        assert!(!reaction.unattainable());
    }

    #[test]
    fn help_goes_on() {
        let mut reaction = Reaction::default();
        for (step, severity) in [40.0, 20.0, 10.0, 4.0].into_iter().enumerate() {
            reaction.consider(&violated(step as f64 * 60.0, severity, 4 + step as u32));
            assert!(!reaction.unattainable());
        }
        assert_eq!(reaction.floor(), 9);
    }

    #[test]
    fn load_and_arriving_pods_are_waited_for() {
        let mut reaction = Reaction::default();
        reaction.consider(&Situation {
            explained: true,
            ..violated(0.0, 10.0, 4)
        });
        reaction.consider(&Situation {
            unsettled: true,
            ..violated(10.0, 10.0, 4)
        });
        assert_eq!(reaction.floor(), 0);
    }

    #[test]
    fn no_more_is_tried_than_a_queue_for_cpu_explains() {
        let mut reaction = Reaction::default();
        let slow = |now: f64, current: u32| Situation {
            by_load: 8,
            ..violated(now, 3.0, current)
        };
        reaction.consider(&slow(100.0, 10));
        assert!(reaction.active());
        assert_eq!(reaction.floor(), 12);
        reaction.consider(&slow(200.0, 12));
        assert_eq!((reaction.floor(), reaction.unattainable()), (12, false));
        reaction.consider(&slow(300.0, 12));
        assert!(reaction.unattainable());
    }
}
