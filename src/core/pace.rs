//! Two speeds: out at once, in slowly.
//!
//! Capacity that is missing costs the objective; capacity that is left over costs money for a while. So a larger number is
//! decided at once, a smaller one only when every decision over a hold time would have been content with it, and then a
//! quarter at a time. The hold plays the part of the HPA's stabilisation window (Kubernetes documentation, "Horizontal Pod
//! Autoscaling"); its length is a heuristic.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// Most that one step in takes away, as a share.
const STEP_IN: f64 = 0.25;

/// Part of the hold that may pass between two questions before what was wanted until then is forgotten.
const PAUSE: f64 = 0.75;

/// What was wanted lately and when the number last changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pace {
    wanted: VecDeque<(f64, u32)>,
    out_at: f64,
    in_at: f64,
}

/// One question to the pace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ask {
    /// Now, in seconds since the Unix epoch.
    pub now: f64,
    /// Replicas that the model wants.
    pub wanted: u32,
    /// Replicas in force, those that are still starting among them.
    pub current: u32,
    /// Whether fewer may be decided at all.
    pub may_shrink: bool,
    /// How long fewer must have been enough, in seconds.
    pub hold_seconds: f64,
    /// Time between two questions, in seconds.
    pub interval_seconds: f64,
}

impl Pace {
    /// Replicas to decide.
    pub fn decide(&mut self, ask: &Ask) -> u32 {
        self.remember(ask);
        if ask.wanted > ask.current {
            self.out_at = ask.now;
            return ask.wanted;
        }
        let most = self
            .wanted
            .iter()
            .map(|(_, wanted)| *wanted)
            .max()
            .unwrap_or(ask.current);
        if !ask.may_shrink || most >= ask.current || !self.ripe(ask) {
            return ask.current;
        }
        self.in_at = ask.now;
        let step = ((f64::from(ask.current) * STEP_IN) as u32).max(1);
        most.max(ask.current - step)
    }

    /// Notes that somebody else has made the number grow, such as admission at the beginning of a rollout.
    pub fn raised(&mut self, now: f64) {
        self.out_at = now;
    }

    /// When the number last grew, in seconds since the Unix epoch; 0 if never.
    #[must_use]
    pub fn out_at(&self) -> f64 {
        self.out_at
    }

    /// When anything was noted last, in seconds since the Unix epoch; 0 if never.
    #[must_use]
    pub fn latest(&self) -> f64 {
        let asked = self.wanted.back().map_or(0.0, |(at, _)| *at);
        asked.max(self.out_at).max(self.in_at)
    }

    /// The clock was set back to `now`: nothing lies ahead of it.
    pub fn not_after(&mut self, now: f64) {
        self.wanted.clear();
        (self.out_at, self.in_at) = (self.out_at.min(now), self.in_at.min(now));
    }

    fn remember(&mut self, ask: &Ask) {
        // What was wanted before a pause says nothing of what would have been wanted in it.
        let gap = (PAUSE * ask.hold_seconds).max(2.5 * ask.interval_seconds);
        if self.wanted.back().is_some_and(|(at, _)| ask.now - at > gap) {
            self.wanted.clear();
        }
        while self.wanted.len() > 1 && self.wanted[1].0 <= ask.now - ask.hold_seconds {
            self.wanted.pop_front();
        }
        self.wanted.push_back((ask.now, ask.wanted));
    }

    /// Whether wants are known over the whole hold and neither direction was taken just now.
    fn ripe(&self, ask: &Ask) -> bool {
        let known = self
            .wanted
            .front()
            .is_some_and(|(at, _)| ask.now - at >= 0.9 * ask.hold_seconds);
        known && ask.now - self.out_at >= ask.hold_seconds && ask.now - self.in_at >= 0.25 * ask.hold_seconds
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(pace: &mut Pace, now: f64, wanted: u32, current: u32) -> u32 {
        pace.decide(&Ask {
            now,
            wanted,
            current,
            may_shrink: true,
            hold_seconds: 120.0,
            interval_seconds: 15.0,
        })
    }

    #[test]
    fn out_at_once() {
        assert_eq!(run(&mut Pace::default(), 1000.0, 9, 3), 9);
    }

    #[test]
    fn in_after_the_hold_and_a_quarter_at_a_time() {
        let mut pace = Pace::default();
        let mut current = 12;
        let mut changes = Vec::new();
        for step in 0..30 {
            let now = 1000.0 + f64::from(step) * 15.0;
            let next = run(&mut pace, now, 4, current);
            if next != current {
                changes.push((now - 1000.0, next));
            }
            current = next;
        }
        assert_eq!(
            changes,
            vec![(120.0, 9), (150.0, 7), (180.0, 6), (210.0, 5), (240.0, 4)]
        );
    }

    #[test]
    fn one_higher_want_restarts_the_hold() {
        let mut pace = Pace::default();
        for step in 0..8 {
            assert_eq!(
                run(
                    &mut pace,
                    1000.0 + f64::from(step) * 15.0,
                    if step == 6 { 8 } else { 4 },
                    8
                ),
                8
            );
        }
        assert_eq!(run(&mut pace, 1120.0, 4, 8), 8);
        assert_eq!(run(&mut pace, 1180.0, 4, 8), 8);
        assert_eq!(run(&mut pace, 1230.0, 4, 8), 6);
    }

    #[test]
    fn consent_from_before_a_pause_does_not_count() {
        let mut pace = Pace::default();
        (0..4).for_each(|step| {
            run(&mut pace, 1000.0 + f64::from(step) * 15.0, 4, 8);
        });
        assert_eq!(run(&mut pace, 5000.0, 4, 8), 8);
        let at = |step: i32| 5000.0 + f64::from(step) * 15.0;
        let decided: Vec<u32> = (1..9).map(|step| run(&mut pace, at(step), 4, 8)).collect();
        assert_eq!(decided, [8, 8, 8, 8, 8, 8, 8, 6]);
    }

    proptest! {
        #[test]
        fn never_below_every_recent_want(wants in prop::collection::vec(1_u32..20, 1..60)) {
            let mut pace = Pace::default();
            let mut current = 10;
            for (step, wanted) in wants.iter().enumerate() {
                let next = run(&mut pace, 1000.0 + 15.0 * step as f64, *wanted, current);
                prop_assert!(next >= *wanted);
                let recent = wants[step.saturating_sub(6)..=step].iter().max().copied().unwrap_or(0);
                prop_assert!(next >= recent.min(current));
                current = next;
            }
        }
    }
}
