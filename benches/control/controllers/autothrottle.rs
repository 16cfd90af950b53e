//! Autothrottle (NSDI 2024): a captain for each pod and a tower over them.
//!
//! The captain (section 3.2) sets the CPU quota so that the share of 100 ms periods that are throttled stays near a
//! target: it looks every period, scales up in proportion to the excess once a second, scales down to what was used
//! lately plus a margin of standard deviations, and takes a scale-down back if throttling follows. The tower (section
//! 3.3) is a contextual bandit: once a minute it chooses the target from the load, after exploring; a violated
//! objective costs between 2 and 3, a kept one between 0 and 1 by its allocation. The paper learns that cost with a
//! small network; here it is averaged over the samples of like load.

use std::collections::VecDeque;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::Controller;
use crate::cluster::World;

/// Targets of the throttled share among which the tower chooses (section 4).
pub const TARGETS: [f64; 9] = [0.0, 0.02, 0.04, 0.06, 0.1, 0.15, 0.2, 0.25, 0.3];

/// Period of the captain's feedback, in seconds.
const PERIOD_SECONDS: f64 = 0.1;

/// Time between two scaling decisions, in seconds.
const DECISION_SECONDS: f64 = 1.0;

/// Usage that is remembered for scaling down, in seconds.
const USAGE_SECONDS: f64 = 5.0;

/// One captain.
#[derive(Clone, Debug)]
struct Captain {
    id: u64,
    limit: f64,
    last_limit: f64,
    throttled: VecDeque<f64>,
    usage: VecDeque<f64>,
    margin: f64,
    scaled_down: bool,
    readings: usize,
    seconds: f64,
    before: (f64, u64),
}

impl Captain {
    /// One that reads its pod every `seconds`.
    fn new(id: u64, seconds: f64, limit: f64, (used_seconds, throttled): (f64, u64)) -> Self {
        Self {
            id,
            limit,
            last_limit: limit,
            seconds,
            throttled: VecDeque::from(vec![0.0; readings(DECISION_SECONDS, seconds, 1)]),
            usage: VecDeque::new(),
            margin: 3.0,
            scaled_down: false,
            readings: 0,
            before: (used_seconds, throttled),
        }
    }

    /// One reading of usage and throttled periods; the quota after it.
    fn read(&mut self, used_seconds: f64, throttled: u64, target: f64) -> f64 {
        let periods = (self.seconds / PERIOD_SECONDS).max(1.0);
        let share = ((throttled - self.before.1) as f64 / periods).min(1.0);
        let window = self.throttled.len();
        push(&mut self.throttled, share, window);
        // At a slower pace than the paper's a handful of readings is remembered, or there would be no deviation.
        let usage = (used_seconds - self.before.0) / self.seconds;
        push(&mut self.usage, usage, readings(USAGE_SECONDS, self.seconds, 5));
        self.before = (used_seconds, throttled);
        self.roll_back(target);
        self.readings += 1;
        if self.readings >= window {
            self.readings = 0;
            self.decide(target);
        }
        self.limit
    }

    /// A scale-down that is followed by throttling was a mistake: take it back, and more.
    fn roll_back(&mut self, target: f64) {
        let share = mean(&self.throttled);
        if self.scaled_down && share > 3.0 * target {
            self.limit = 2.0 * self.last_limit - self.limit;
            self.margin += share - target;
            self.throttled.iter_mut().for_each(|value| *value = 0.0);
            self.scaled_down = false;
        }
    }

    fn decide(&mut self, target: f64) {
        self.last_limit = self.limit;
        let share = mean(&self.throttled);
        self.margin = (self.margin + share - target).max(0.0);
        self.scaled_down = false;
        if share > 3.0 * target {
            self.limit *= 1.0 + share - 3.0 * target;
        } else {
            let proposal = self.usage.iter().copied().fold(0.0, f64::max) + self.margin * deviation(&self.usage);
            if proposal <= 0.9 * self.limit {
                self.limit = proposal.max(0.5 * self.limit);
                self.scaled_down = true;
            }
        }
        self.throttled.iter_mut().for_each(|value| *value = 0.0);
        self.limit = self.limit.max(0.01);
    }
}

/// Readings in a time, `least` at the least.
fn readings(time_seconds: f64, reading_seconds: f64, least: usize) -> usize {
    ((time_seconds / reading_seconds).round() as usize).max(least)
}

fn push(values: &mut VecDeque<f64>, value: f64, most: usize) {
    values.push_back(value);
    if values.len() > most {
        values.pop_front();
    }
}

fn mean(values: &VecDeque<f64>) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

fn deviation(values: &VecDeque<f64>) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    let centre = mean(values);
    (values.iter().map(|value| (value - centre).powi(2)).sum::<f64>() / (values.len() - 1) as f64).sqrt()
}

/// One minute as the tower saw it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    rate: f64,
    action: usize,
    p99: f64,
    allocation: f64,
}

/// The tower.
#[derive(Clone, Debug)]
pub struct Tower {
    objective_seconds: f64,
    samples: Vec<Sample>,
    explore: f64,
    rng: StdRngSeed,
}

/// A seed that makes the choices of a tower repeatable however often it is cloned.
#[derive(Clone, Copy, Debug)]
struct StdRngSeed(u64);

impl Tower {
    /// One that explores a share `explore` of the time.
    pub fn new(objective_seconds: f64, explore: f64, seed: u64) -> Self {
        Self {
            objective_seconds,
            samples: Vec::new(),
            explore,
            rng: StdRngSeed(seed),
        }
    }

    /// The same samples, with another share of exploring.
    #[must_use]
    pub fn exploring(mut self, explore: f64, seed: u64) -> Self {
        (self.explore, self.rng) = (explore, StdRngSeed(seed));
        self
    }

    fn draw(&mut self) -> f64 {
        let mut rng = StdRng::seed_from_u64(self.rng.0);
        let value = rng.random::<f64>();
        self.rng = StdRngSeed(rng.random());
        value
    }

    /// Cost of a sample: its allocation among those that kept the objective, or its latency among the others.
    fn cost(&self, sample: &Sample, kept: (f64, f64), missed: (f64, f64)) -> f64 {
        let place = |value: f64, (least, most): (f64, f64)| {
            if most > least {
                (value - least) / (most - least)
            } else {
                0.5
            }
        };
        if sample.p99 <= self.objective_seconds {
            place(sample.allocation, kept)
        } else {
            2.0 + place(sample.p99, missed)
        }
    }

    /// Expected cost of each action at `rate`; `None` where it was never tried.
    fn costs(&self, rate: f64) -> [Option<f64>; TARGETS.len()] {
        let keeps = |sample: &&Sample| sample.p99 <= self.objective_seconds;
        let kept = range(self.samples.iter().filter(keeps).map(|sample| sample.allocation));
        let missed = range(
            self.samples
                .iter()
                .filter(|sample| !keeps(sample))
                .map(|sample| sample.p99),
        );
        let mut sums = [(0.0, 0.0); TARGETS.len()];
        for sample in &self.samples {
            let distance = (sample.rate - rate) / (0.1 * rate.max(1.0));
            let weight = (-0.5 * distance * distance).exp() + 1e-6;
            sums[sample.action].0 += weight * self.cost(sample, kept, missed);
            sums[sample.action].1 += weight;
        }
        sums.map(|(cost, weight)| (weight > 0.0).then(|| cost / weight))
    }

    fn choose(&mut self, rate: f64) -> usize {
        let costs = self.costs(rate);
        let untried: Vec<usize> = (0..TARGETS.len()).filter(|&action| costs[action].is_none()).collect();
        if self.explore > 0.0 && self.draw() < self.explore {
            return self.explore_from(&untried, rate);
        }
        best(&costs)
    }

    /// Before everything was tried, what was not; then a neighbour of the best, or anything when exploring all the time.
    fn explore_from(&mut self, untried: &[usize], rate: f64) -> usize {
        let draw = self.draw();
        if self.explore >= 1.0 {
            let among = if untried.is_empty() {
                (0..TARGETS.len()).collect()
            } else {
                untried.to_vec()
            };
            return among[(draw * among.len() as f64) as usize];
        }
        let action = best(&self.costs(rate));
        if draw < 0.5 {
            action.saturating_sub(1)
        } else {
            (action + 1).min(TARGETS.len() - 1)
        }
    }
}

fn best(costs: &[Option<f64>]) -> usize {
    let tried = costs
        .iter()
        .enumerate()
        .filter_map(|(action, cost)| cost.map(|cost| (action, cost)));
    tried.min_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |(action, _)| action)
}

fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), value| {
        (least.min(value), most.max(value))
    })
}

/// Captains and their tower.
pub struct Autothrottle {
    tower: Tower,
    captains: Vec<Captain>,
    interval_seconds: f64,
    action: usize,
    minute: Minute,
}

/// What the tower measures between two of its choices.
#[derive(Clone, Debug, Default)]
struct Minute {
    ends: f64,
    began: u64,
    answered: Vec<u64>,
    allocation: f64,
    readings: f64,
}

impl Autothrottle {
    /// Captains that act every `interval_seconds` (0.1 in the paper).
    pub fn new(tower: Tower, interval_seconds: f64) -> Self {
        Self {
            tower,
            captains: Vec::new(),
            interval_seconds,
            action: 0,
            minute: Minute::default(),
        }
    }

    /// The tower with what it has learnt.
    pub fn into_tower(self) -> Tower {
        self.tower
    }

    /// The captain of a pod, unless it has only now come aboard.
    fn captain(&mut self, id: u64, limit: f64, counters: (f64, u64)) -> Option<&mut Captain> {
        let place = self.captains.iter().position(|captain| captain.id == id);
        if place.is_none() {
            self.captains
                .push(Captain::new(id, self.interval_seconds, limit, counters));
        }
        self.captains.get_mut(place?)
    }

    fn act_captains(&mut self, world: &mut World) {
        let target = TARGETS[self.action];
        for index in 0..world.members.len() {
            let member = &world.members[index];
            let (id, limit) = (member.id, member.size.cpu_limit);
            let (used, throttled) = (member.pod.cpu_used_seconds(), member.pod.throttling().throttled_periods);
            if let Some(captain) = self.captain(id, limit, (used, throttled)) {
                captain.limit = captain.read(used, throttled, target).min(world.settings.node_cores);
                world.set_quota(index, captain.limit);
            }
        }
        self.minute.allocation += world.members.iter().map(|member| member.size.cpu_limit).sum::<f64>();
        self.minute.readings += 1.0;
    }

    fn act_tower(&mut self, world: &World, now: f64) {
        let mut answered = vec![0_u64; world.ladder.buckets()];
        for member in &world.members {
            answered
                .iter_mut()
                .zip(&member.metrics.answered)
                .for_each(|(sum, count)| *sum += count);
        }
        let began = world.members.iter().map(|member| member.metrics.began).sum::<u64>();
        let rate = began.saturating_sub(self.minute.began) as f64 / 60.0;
        if !self.minute.answered.is_empty() {
            let counts: Vec<u64> = answered
                .iter()
                .zip(&self.minute.answered)
                .map(|(now, then)| now.saturating_sub(*then))
                .collect();
            let p99 = p99(&world.ladder.upper_bounds_seconds, &counts);
            let allocation = self.minute.allocation / self.minute.readings.max(1.0);
            self.tower.samples.push(Sample {
                rate,
                action: self.action,
                p99,
                allocation,
            });
            self.action = self.tower.choose(rate);
        }
        self.minute = Minute {
            ends: now + 60.0,
            began,
            answered,
            allocation: 0.0,
            readings: 0.0,
        };
    }
}

/// The upper bound of the bucket that p99 falls into.
fn p99(bounds: &[f64], counts: &[u64]) -> f64 {
    let total: u64 = counts.iter().sum();
    let mut below = 0;
    let bucket = counts.iter().position(|count| {
        below += count;
        below as f64 >= 0.99 * total as f64
    });
    let last = bounds.last().copied().unwrap_or(0.0);
    bucket
        .and_then(|bucket| bounds.get(bucket).copied())
        .unwrap_or(last * 1.15)
}

impl Controller for Autothrottle {
    fn interval_seconds(&self) -> f64 {
        self.interval_seconds
    }

    fn tick_seconds(&self) -> f64 {
        self.interval_seconds.min(1.0)
    }

    fn act(&mut self, world: &mut World, now: f64) {
        self.act_captains(world);
        if now + 1e-6 >= self.minute.ends && !world.blackout {
            self.act_tower(world, now);
        }
    }
}

/// A tower that has explored: what is left of running captains over a load with a tower that only explores.
pub fn train(tower: Tower, interval_seconds: f64, run: impl FnOnce(&mut Autothrottle)) -> Tower {
    let mut autothrottle = Autothrottle::new(tower, interval_seconds);
    run(&mut autothrottle);
    autothrottle.into_tower()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One second of ten readings, each with the same usage in cores and the given number of throttled periods in all.
    fn second(captain: &mut Captain, cores: f64, throttled: u64, target: f64) -> f64 {
        let (mut used, mut periods) = captain.before;
        for reading in 0..10 {
            used += cores * 0.1;
            periods += u64::from(reading < throttled);
            captain.read(used, periods, target);
        }
        captain.limit
    }

    #[test]
    fn it_scales_up_in_proportion_to_the_excess_of_throttling() {
        let mut captain = Captain::new(1, 0.1, 1.0, (0.0, 0));
        // Half of the periods throttled at a target of 0.1: 1 + (0.5 - 0.3).
        assert!((second(&mut captain, 0.9, 5, 0.1) - 1.2).abs() < 1e-9);
        // Twice the target is within three times: no scaling up.
        assert!((second(&mut captain, 1.15, 2, 0.1) - 1.2).abs() < 1e-9);
    }

    #[test]
    fn it_scales_down_to_what_was_used_but_at_most_by_half() {
        let mut captain = Captain::new(1, 0.1, 4.0, (0.0, 0));
        assert!((second(&mut captain, 0.5, 0, 0.1) - 2.0).abs() < 1e-9);
        assert!((second(&mut captain, 0.5, 0, 0.1) - 1.0).abs() < 1e-9);
        assert!((second(&mut captain, 0.5, 0, 0.1) - 0.5).abs() < 1e-6);
    }

    #[test]
    fn a_scale_down_that_throttles_is_taken_back_with_interest() {
        let mut captain = Captain::new(1, 0.1, 4.0, (0.0, 0));
        second(&mut captain, 1.0, 0, 0.0);
        assert!((captain.limit - 2.0).abs() < 1e-9);
        let margin = captain.margin;
        captain.read(captain.before.0 + 0.2, captain.before.1 + 1, 0.0);
        assert!((captain.limit - 6.0).abs() < 1e-9);
        assert!(captain.margin > margin);
    }

    #[test]
    fn the_tower_prefers_the_cheapest_target_that_keeps_the_objective() {
        let mut tower = Tower::new(0.1, 0.0, 1);
        for (action, p99, allocation) in [(0, 0.05, 8.0), (4, 0.09, 5.0), (8, 0.30, 3.0)] {
            tower.samples.push(Sample {
                rate: 100.0,
                action,
                p99,
                allocation,
            });
        }
        assert_eq!(tower.choose(100.0), 4);
    }

    #[test]
    fn the_tower_learns_by_load() {
        let mut tower = Tower::new(0.1, 0.0, 1);
        for (rate, action, p99, allocation) in [
            (100.0, 8, 0.09, 2.0),
            (100.0, 0, 0.05, 4.0),
            (300.0, 8, 0.30, 6.0),
            (300.0, 0, 0.06, 9.0),
        ] {
            tower.samples.push(Sample {
                rate,
                action,
                p99,
                allocation,
            });
        }
        assert_eq!(tower.choose(100.0), 8);
        assert_eq!(tower.choose(300.0), 0);
    }

    #[test]
    fn an_exploring_tower_tries_everything() {
        let mut tower = Tower::new(0.1, 1.0, 1);
        for _ in 0..TARGETS.len() {
            let action = tower.choose(100.0);
            tower.samples.push(Sample {
                rate: 100.0,
                action,
                p99: 0.05,
                allocation: 1.0,
            });
        }
        assert!(tower.costs(100.0).iter().all(Option::is_some));
    }
}
