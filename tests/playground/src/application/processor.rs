//! The CPU of one pod: cores, fair sharing or a run queue, and the CFS quota.
//!
//! Processor sharing is kept in virtual time: every runnable task has received the same amount of CPU since it
//! began, so a task of demand `d` that starts at virtual time `v` ends at `v + d`, whatever comes and goes in between.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::profile::Discipline;

/// Period of the CFS bandwidth controller in seconds, as the kubelet sets it.
pub const CFS_PERIOD_SECONDS: f64 = 0.1;

/// Two instants closer than this are one; keeps a quota that ends exactly at a period from throttling for nothing.
const INSTANT: f64 = 1e-9;

/// A task's place in its owner's table.
pub(super) type Slot = u32;

/// What `cpu.stat` of a control group counts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Throttling {
    /// Periods in which anything ran (`nr_periods`).
    pub periods: u64,
    /// Periods in which the quota ran out (`nr_throttled`).
    pub throttled_periods: u64,
    /// Time spent waiting for the next period, in seconds (`throttled_usec`).
    pub throttled_seconds: f64,
}

/// A finish in virtual time, ordered.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Finish(f64);

impl Eq for Finish {}

impl PartialOrd for Finish {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Finish {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// The CPU of one pod.
#[derive(Clone, Debug)]
pub struct Processor {
    clock: f64,
    virtual_time: f64,
    running: BinaryHeap<Reverse<(Finish, Slot)>>,
    waiting: VecDeque<(Slot, f64)>,
    /// Most tasks that run at once: the threads when first in, first out; no bound when sharing.
    most_running: usize,
    threads: f64,
    capacity_cores: f64,
    background_cores: f64,
    quota_seconds: f64,
    budget_seconds: f64,
    period: u64,
    period_counted: bool,
    throttled: bool,
    pause_seconds: f64,
    used_seconds: f64,
    worked_seconds: f64,
    throttling: Throttling,
}

impl Processor {
    /// A CPU with nothing on it at instant `clock`.
    pub fn new(discipline: Discipline, threads: u32, background_cores: f64, clock: f64) -> Self {
        let most_running = match discipline {
            Discipline::ProcessorSharing => usize::MAX,
            Discipline::FirstInFirstOut => threads as usize,
        };
        Self {
            clock,
            virtual_time: 0.0,
            running: BinaryHeap::new(),
            waiting: VecDeque::new(),
            most_running,
            threads: f64::from(threads),
            capacity_cores: f64::INFINITY,
            background_cores,
            quota_seconds: f64::INFINITY,
            budget_seconds: f64::INFINITY,
            period: period_of(clock),
            period_counted: false,
            throttled: false,
            pause_seconds: 0.0,
            used_seconds: 0.0,
            worked_seconds: 0.0,
            throttling: Throttling::default(),
        }
    }

    /// The instant up to which everything has happened.
    pub fn clock(&self) -> f64 {
        self.clock
    }

    /// CPU used so far in seconds, background and pauses included.
    pub fn used_seconds(&self) -> f64 {
        self.used_seconds
    }

    /// CPU spent on tasks so far in seconds.
    pub fn worked_seconds(&self) -> f64 {
        self.worked_seconds
    }

    /// What the control group has counted so far.
    pub fn throttling(&self) -> Throttling {
        self.throttling
    }

    /// Cores that the node gives at most; under contention that is the share that the request guarantees.
    pub fn set_capacity(&mut self, cores: f64) {
        self.capacity_cores = cores.max(1e-6);
    }

    /// The CPU limit; takes effect within the current period, as a write to `cpu.max` does.
    pub fn set_limit(&mut self, cores: Option<f64>) {
        let available = cores.map_or(f64::INFINITY, |limit| (limit - self.background_cores).max(1e-3));
        let quota = available * CFS_PERIOD_SECONDS;
        if quota.is_infinite() || self.quota_seconds.is_infinite() {
            self.budget_seconds = quota;
        } else {
            self.budget_seconds = (self.budget_seconds + quota - self.quota_seconds).max(0.0);
        }
        self.quota_seconds = quota;
        if self.budget_seconds > INSTANT {
            self.throttled = false;
        }
    }

    /// The same CPU with nothing on it, its counters kept: what a restart of the container leaves.
    pub(super) fn emptied(&self) -> Self {
        let (running, waiting) = (BinaryHeap::new(), VecDeque::new());
        Self {
            running,
            waiting,
            pause_seconds: 0.0,
            virtual_time: 0.0,
            ..self.clone()
        }
    }

    /// Adds a task of `demand_seconds` now.
    pub(super) fn start(&mut self, slot: Slot, demand_seconds: f64) {
        if self.running.len() < self.most_running {
            self.run_task(slot, demand_seconds);
        } else {
            self.waiting.push_back((slot, demand_seconds));
        }
    }

    fn run_task(&mut self, slot: Slot, demand_seconds: f64) {
        if self.running.is_empty() {
            // Nobody holds a place in virtual time: start it afresh, which keeps it precise.
            self.virtual_time = 0.0;
        }
        self.running
            .push(Reverse((Finish(self.virtual_time + demand_seconds), slot)));
    }

    /// Stops the world for `cpu_seconds` of work on one core.
    pub fn pause(&mut self, cpu_seconds: f64) {
        self.pause_seconds += cpu_seconds;
    }

    /// CPU used at this instant in cores, background left out.
    fn rate(&self) -> f64 {
        if self.throttled {
            0.0
        } else if self.pause_seconds > 0.0 {
            self.capacity_cores.min(1.0)
        } else {
            (self.running.len() as f64).min(self.threads).min(self.capacity_cores)
        }
    }

    /// When the next task ends, the quota runs out or the next period begins, whichever comes first.
    pub fn next_change(&self) -> Option<f64> {
        if self.throttled {
            return Some(self.period_end());
        }
        let rate = self.rate();
        (rate > 0.0).then(|| self.next_finish(rate).min(self.exhaustion(rate)).max(self.clock))
    }

    fn period_end(&self) -> f64 {
        (self.period + 1) as f64 * CFS_PERIOD_SECONDS
    }

    /// When the pause or the first task ends if the rate stays.
    fn next_finish(&self, rate: f64) -> f64 {
        if self.pause_seconds > 0.0 {
            return self.clock + self.pause_seconds / rate;
        }
        let Some(Reverse((finish, _))) = self.running.peek() else {
            return f64::INFINITY;
        };
        self.clock + (finish.0 - self.virtual_time).max(0.0) * self.running.len() as f64 / rate
    }

    /// When the quota runs out if the rate stays.
    fn exhaustion(&self, rate: f64) -> f64 {
        let end = self.period_end();
        let in_this_period = self.clock + self.budget_seconds / rate;
        if in_this_period < end - INSTANT {
            in_this_period
        } else if rate * CFS_PERIOD_SECONDS > self.quota_seconds + INSTANT {
            end + self.quota_seconds / rate
        } else {
            f64::INFINITY
        }
    }

    /// Runs until `until`, or until a task ends if that is earlier; then that task is returned.
    pub(super) fn run(&mut self, until: f64) -> Option<Slot> {
        loop {
            if self.throttled && !self.wait_for_period(until) {
                return None;
            }
            let rate = self.rate();
            if rate <= 0.0 {
                self.elapse(until, 0.0);
                return None;
            }
            let (finish, exhaustion) = (self.next_finish(rate), self.exhaustion(rate));
            // A task that ends with the quota's last drop has ended.
            let throttles = exhaustion < finish - INSTANT;
            let change = if throttles { exhaustion } else { finish };
            if change > until {
                self.elapse(until, rate);
                return None;
            }
            self.elapse(change, rate);
            if throttles {
                self.throttled = true;
                self.throttling.throttled_periods += 1;
            } else if let Some(slot) = self.finish() {
                return Some(slot);
            }
        }
    }

    /// Waits for the next period; false if that is after `until`.
    fn wait_for_period(&mut self, until: f64) -> bool {
        let end = self.period_end().min(until);
        self.throttling.throttled_seconds += (end - self.clock).max(0.0);
        let renewed = self.period_end() <= until;
        self.elapse(end, 0.0);
        renewed
    }

    /// Ends the pause (no task) or the first task.
    fn finish(&mut self) -> Option<Slot> {
        if self.pause_seconds > 0.0 {
            self.pause_seconds = 0.0;
            return None;
        }
        let Reverse((finish, slot)) = self.running.pop()?;
        self.virtual_time = finish.0;
        if let Some((next, demand)) = self.waiting.pop_front() {
            self.run_task(next, demand);
        }
        Some(slot)
    }

    /// Moves the clock to `to` while `rate` cores are used.
    fn elapse(&mut self, to: f64, rate: f64) {
        let seconds = to - self.clock;
        if seconds <= 0.0 {
            return;
        }
        let work = rate * seconds;
        self.used_seconds += work + self.background_cores * seconds;
        if rate > 0.0 {
            if self.pause_seconds > 0.0 {
                self.pause_seconds = (self.pause_seconds - work).max(1e-15);
            } else {
                self.virtual_time += work / self.running.len() as f64;
                self.worked_seconds += work;
            }
        }
        self.spend(to, rate, work);
        self.clock = to;
    }

    fn spend(&mut self, to: f64, rate: f64, work: f64) {
        let period = if to >= self.period_end() {
            period_of(to)
        } else {
            self.period
        };
        if period == self.period {
            self.budget_seconds -= work;
            if rate > 0.0 && !self.period_counted {
                self.period_counted = true;
                self.throttling.periods += 1;
            }
            return;
        }
        let began = period as f64 * CFS_PERIOD_SECONDS;
        self.throttled = false;
        self.budget_seconds = self.quota_seconds - rate * (to - began).max(0.0);
        if rate > 0.0 {
            let counted = u64::from(self.period_counted);
            self.throttling.periods += period - self.period + 1 - counted;
        }
        self.period_counted = rate > 0.0;
        self.period = period;
    }
}

/// The period that an instant falls into.
fn period_of(instant: f64) -> u64 {
    ((instant + INSTANT) / CFS_PERIOD_SECONDS) as u64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn sharing(threads: u32) -> Processor {
        Processor::new(Discipline::ProcessorSharing, threads, 0.0, 0.0)
    }

    /// Runs to the next finish, however far.
    fn next(processor: &mut Processor) -> (Slot, f64) {
        let slot = processor.run(1e6).unwrap();
        (slot, processor.clock())
    }

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-6, "{a} is not {b}");
    }

    #[test]
    fn two_tasks_share_one_core() {
        let mut cpu = sharing(1);
        cpu.start(1, 0.010);
        cpu.start(2, 0.030);
        let (slot, at) = next(&mut cpu);
        assert_eq!(slot, 1);
        close(at, 0.020);
        let (slot, at) = next(&mut cpu);
        assert_eq!(slot, 2);
        close(at, 0.040);
    }

    #[test]
    fn two_tasks_on_two_cores_do_not_meet() {
        let mut cpu = sharing(2);
        cpu.start(1, 0.010);
        cpu.start(2, 0.030);
        close(next(&mut cpu).1, 0.010);
        close(next(&mut cpu).1, 0.030);
        close(cpu.used_seconds(), 0.040);
    }

    #[test]
    fn an_event_loop_runs_one_task_after_another() {
        let mut cpu = Processor::new(Discipline::FirstInFirstOut, 1, 0.0, 0.0);
        cpu.start(1, 0.030);
        cpu.start(2, 0.010);
        assert_eq!(next(&mut cpu).0, 1);
        let (slot, at) = next(&mut cpu);
        assert_eq!(slot, 2);
        close(at, 0.040);
    }

    #[test]
    fn a_quota_throttles_until_the_next_period() {
        let mut cpu = sharing(4);
        cpu.set_limit(Some(0.5));
        // 50 ms of quota: four threads burn it in 12.5 ms, then wait until 100 ms.
        for slot in 0..4 {
            cpu.start(slot, 0.020);
        }
        close(next(&mut cpu).1, 0.1 + 0.0075);
        let throttling = cpu.throttling();
        assert_eq!(throttling.throttled_periods, 1);
        close(throttling.throttled_seconds, 0.0875);
        assert_eq!(throttling.periods, 2);
    }

    #[test]
    fn a_limit_above_the_rate_never_throttles() {
        let mut cpu = sharing(1);
        cpu.set_limit(Some(1.0));
        cpu.start(1, 4.95);
        close(next(&mut cpu).1, 4.95);
        assert_eq!(cpu.throttling().throttled_periods, 0);
        assert_eq!(cpu.throttling().periods, 50);
    }

    #[test]
    fn a_long_task_gets_exactly_its_quota() {
        let mut cpu = sharing(1);
        cpu.set_limit(Some(0.25));
        cpu.start(1, 1.0);
        // 40 periods of 25 ms; the last ends 25 ms into its period.
        close(next(&mut cpu).1, 3.9 + 0.025);
        assert_eq!(cpu.throttling().throttled_periods, 39);
    }

    #[test]
    fn contention_slows_without_throttling() {
        let mut cpu = sharing(4);
        cpu.set_capacity(0.5);
        cpu.start(1, 0.010);
        close(next(&mut cpu).1, 0.020);
        assert_eq!(cpu.throttling().throttled_periods, 0);
    }

    #[test]
    fn a_raised_limit_ends_the_wait() {
        let mut cpu = sharing(1);
        cpu.set_limit(Some(0.1));
        cpu.start(1, 0.030);
        assert_eq!(cpu.run(0.050), None);
        cpu.set_limit(Some(1.0));
        close(next(&mut cpu).1, 0.070);
    }

    #[test]
    fn a_pause_stops_the_world() {
        let mut cpu = sharing(2);
        cpu.start(1, 0.010);
        assert_eq!(cpu.run(0.005), None);
        cpu.pause(0.020);
        close(next(&mut cpu).1, 0.030);
        close(cpu.used_seconds(), 0.030);
        close(cpu.worked_seconds(), 0.010);
    }

    #[test]
    fn next_change_is_where_run_stops() {
        let mut cpu = sharing(2);
        cpu.set_limit(Some(0.5));
        assert_eq!(cpu.next_change(), None);
        cpu.start(1, 0.080);
        close(cpu.next_change().unwrap(), 0.050);
        assert_eq!(cpu.run(0.050), None);
        close(cpu.next_change().unwrap(), 0.1);
        assert_eq!(cpu.run(0.1), None);
        close(cpu.next_change().unwrap(), 0.13);
    }

    #[test]
    fn background_work_counts_and_takes_quota() {
        let mut cpu = Processor::new(Discipline::ProcessorSharing, 1, 0.1, 0.0);
        cpu.set_limit(Some(0.5));
        cpu.start(1, 0.040);
        close(next(&mut cpu).1, 0.040);
        close(cpu.used_seconds(), 0.044);
        cpu.start(1, 0.010);
        assert!(next(&mut cpu).1 >= 0.1);
    }
}
