//! The oracle without its foresight: what knowing the application perfectly is worth to one who must wait for the load.
//!
//! It knows the CPU time of a request to the digit, and size, utilisation and patience are searched for afterwards as the
//! cheapest that keep the objective over the whole run. But it sees the load of the last seconds in place of the next ones,
//! and its pods have to start. No bound, since somebody may extrapolate; but what lies between it and the oracle is what the
//! future costs, and not ignorance of the application.

use std::collections::VecDeque;

use super::Controller;
use crate::cluster::World;
use crate::load::Load;

/// Seconds over which load is counted, and between two decisions.
const WINDOW_SECONDS: usize = 15;

/// The one who knows everything but the future.
pub struct Reactive {
    load: Load,
    cores_per_request: f64,
    utilisation: f64,
    hold_seconds: f64,
    min_replicas: u32,
    wanted: VecDeque<(f64, u32)>,
}

impl Reactive {
    /// One that is shown `load` as it comes, and lets pods go that were not needed for `hold_seconds`.
    pub fn new(load: Load, cores_per_request: f64, utilisation: f64, hold_seconds: f64, min_replicas: u32) -> Self {
        Self {
            load,
            cores_per_request,
            utilisation,
            hold_seconds,
            min_replicas,
            wanted: VecDeque::new(),
        }
    }

    /// Replicas for the load of the last seconds.
    fn needed(&self, now: usize, demand: f64, cpu_request: f64) -> u32 {
        let from = now.saturating_sub(WINDOW_SECONDS);
        let requests: f64 = (from..now).map(|at| self.load.rate(at)).sum();
        let cores = requests / (now - from).max(1) as f64 * self.cores_per_request * demand;
        ((cores / (self.utilisation * cpu_request) - 0.02).ceil() as u32).max(self.min_replicas)
    }

    /// The most that was needed of late.
    fn held(&mut self, now: f64, needed: u32) -> u32 {
        self.wanted.push_back((now, needed));
        self.wanted.retain(|(at, _)| *at > now - self.hold_seconds);
        self.wanted
            .iter()
            .map(|(_, replicas)| *replicas)
            .max()
            .unwrap_or(needed)
    }
}

impl Controller for Reactive {
    fn interval_seconds(&self) -> f64 {
        WINDOW_SECONDS as f64
    }

    fn act(&mut self, world: &mut World, now: f64) {
        let deployment = world.deployment;
        let needed = self.needed(now as usize, deployment.demand_scale, deployment.size.cpu_request);
        let replicas = self.held(now, needed);
        world.scale(replicas);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_the_pods_of_the_seconds_gone_by() {
        let mut rates = vec![10.0; 15];
        rates.extend(vec![40.0; 30]);
        let reactive = Reactive::new(Load::new(rates), 0.1, 0.5, 60.0, 1);
        assert_eq!(reactive.needed(15, 1.0, 1.0), 2);
        assert_eq!(reactive.needed(30, 1.0, 1.0), 8);
        assert_eq!(reactive.needed(30, 1.5, 1.0), 12);
    }

    #[test]
    fn it_lets_pods_go_after_a_while() {
        let mut reactive = Reactive::new(Load::new(vec![1.0]), 0.1, 0.5, 60.0, 1);
        assert_eq!(reactive.held(0.0, 4), 4);
        assert_eq!(reactive.held(45.0, 2), 4);
        assert_eq!(reactive.held(60.0, 2), 2);
    }
}
