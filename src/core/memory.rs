//! Memory of a container: m0 + m1 * lambda, the peaks above it, and what a kill by the kernel taught.
//!
//! The line is the same faded least squares as [`super::demand`], without its gate. A peak fades with a half-life of a
//! day, as in the VPA's recommender ("Vertical Pod Autoscaling" design proposal, kubernetes/design-proposals). A kill
//! raises the floor at once, and the floor sticks until the pod template changes. The margins are heuristics.

use serde::{Deserialize, Serialize};

use super::demand::Demand;
use super::units::Bytes;

/// Half-life of a peak in seconds.
const HALF_LIFE_SECONDS: f64 = 86_400.0;
/// Room above the peak for what no window has seen.
const REQUEST_MARGIN: f64 = 1.15;
/// Limit over request.
const LIMIT_MARGIN: f64 = 1.2;
/// What a kill multiplies the limit by.
const KILL_FACTOR: f64 = 1.3;
/// Least memory asked for, in bytes: below it a Go or Python runtime does not start.
const LEAST: f64 = 24.0 * MEBIBYTE;
/// Bytes of a MiB.
pub const MEBIBYTE: f64 = 1_048_576.0;

/// Learnt memory of one container, in MiB inside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    line: Demand,
    /// Highest working set above the line, faded.
    above: f64,
    /// Highest working set, faded.
    peak: f64,
    peak_at: f64,
    /// Floor of the limit from kills.
    floor: f64,
    windows: f64,
}

/// A request and a limit in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Memory request.
    pub request: Bytes,
    /// Memory limit.
    pub limit: Bytes,
}

impl Memory {
    /// Learns the largest working set of a pod in a window in which pods took `load` requests per second each.
    pub fn learn(&mut self, at_seconds: f64, load: f64, working_set: Bytes) {
        let used = working_set.0 as f64 / MEBIBYTE;
        let keep = 0.5_f64.powf((at_seconds - self.peak_at).max(0.0) / HALF_LIFE_SECONDS);
        self.line.follow(load, used);
        self.above = (self.above * keep).max(used - self.line.cpu(load));
        self.peak = (self.peak * keep).max(used);
        self.peak_at = at_seconds;
        self.windows += 1.0;
    }

    /// A kill at a limit of `limit`: raise at once.
    pub fn killed(&mut self, limit: Bytes) {
        let limit = limit.0 as f64 / MEBIBYTE;
        self.floor = self.floor.max(KILL_FACTOR * limit.max(self.peak));
    }

    /// The pod template changed: what it used before says little.
    pub fn forget(&mut self) {
        self.line.forget();
        self.floor = 0.0;
        self.windows = 0.0;
    }

    /// How much would be missed if this were forgotten: what a kill taught is told by nothing else.
    #[must_use]
    pub fn worth(&self) -> f64 {
        const KILLED: f64 = 1e12;
        if self.floor > 0.0 {
            KILLED + self.floor
        } else {
            self.peak
        }
    }

    /// Whether windows enough were seen to ask for less than before.
    #[must_use]
    pub fn known(&self) -> bool {
        self.windows >= 20.0
    }

    /// Whether a limit of `limit` is so near the peak that waiting would risk a kill.
    #[must_use]
    pub fn urgent(&self, limit: Bytes) -> bool {
        let limit = limit.0 as f64 / MEBIBYTE;
        limit > 0.0 && (self.floor > limit * 1.001 || self.peak > 0.92 * limit)
    }

    /// Whether it was killed, and a request of `request` is less than that asks for.
    #[must_use]
    pub fn was_killed_at(&self, request: Option<Bytes>) -> bool {
        let request = request.map_or(0.0, |bytes| bytes.0 as f64 / MEBIBYTE);
        self.floor > request * LIMIT_MARGIN * 1.001
    }

    /// What to ask for when a pod takes `load` requests per second; `None` before anything was measured.
    #[must_use]
    pub fn plan(&self, load: f64) -> Option<MemoryPlan> {
        if self.windows < 1.0 && self.floor <= 0.0 {
            return None;
        }
        let expected = (self.line.cpu(load) + self.above.max(0.0)).max(self.peak);
        let request = (expected * REQUEST_MARGIN)
            .max(self.floor / LIMIT_MARGIN)
            .max(LEAST / MEBIBYTE);
        Some(MemoryPlan {
            request: bytes(request),
            limit: bytes((request * LIMIT_MARGIN).max(self.floor)),
        })
    }
}

fn bytes(mebibytes: f64) -> Bytes {
    Bytes((mebibytes.ceil() * MEBIBYTE) as u64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn mib(value: f64) -> Bytes {
        bytes(value)
    }

    #[test]
    fn follows_load() {
        let mut memory = Memory::default();
        for step in 0..200 {
            let load = 5.0 + f64::from(step % 20);
            memory.learn(f64::from(step) * 15.0, load, mib(100.0 + 4.0 * load));
        }
        let at = |load: f64| memory.plan(load).unwrap().request.0 as f64 / MEBIBYTE;
        assert!(
            at(50.0) > at(20.0) && at(50.0) > 290.0 && at(50.0) < 400.0,
            "{}",
            at(50.0)
        );
        assert!(at(0.0) >= 196.0 * REQUEST_MARGIN, "never below the peak: {}", at(0.0));
    }

    #[test]
    fn a_kill_raises_at_once_and_sticks() {
        let mut memory = Memory::default();
        memory.learn(0.0, 1.0, mib(100.0));
        assert!(!memory.urgent(mib(200.0)));
        memory.killed(mib(200.0));
        assert!(memory.urgent(mib(200.0)));
        (1..500).for_each(|step| memory.learn(f64::from(step) * 3600.0, 1.0, mib(50.0)));
        assert!(memory.plan(1.0).unwrap().limit >= mib(260.0));
        memory.forget();
        memory.learn(2e6, 1.0, mib(50.0));
        assert!(memory.plan(1.0).unwrap().limit < mib(260.0));
    }

    #[test]
    fn peaks_fade_in_days() {
        let mut memory = Memory::default();
        memory.learn(0.0, 1.0, mib(400.0));
        (1..=240).for_each(|hour| memory.learn(f64::from(hour) * 3600.0, 1.0, mib(100.0)));
        assert!(memory.plan(1.0).unwrap().request < mib(150.0));
    }

    #[test]
    fn nothing_measured_asks_for_nothing() {
        assert_eq!(Memory::default().plan(10.0), None);
    }
}
