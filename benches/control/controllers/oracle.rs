//! A clairvoyant that knows the load to come and what the application needs: the lower bound.
//!
//! It has the replicas of the next seconds ready and warm exactly when they are needed, at a pod size and a
//! utilisation that are searched for afterwards as the cheapest that keep the objective over the whole run. Only what
//! no controller can avoid remains: whole pods, the balancer, the node's neighbours and chance.

use super::Controller;
use crate::cluster::World;
use crate::load::Load;

/// Seconds for which it plans at once.
const PLAN_SECONDS: usize = 15;

/// The clairvoyant.
pub struct Oracle {
    load: Load,
    cores_per_request: f64,
    utilisation: f64,
    demand_from: Option<(f64, f64)>,
    min_replicas: u32,
}

impl Oracle {
    /// One that knows `load` (the warm-up included), the CPU time of a request and, where there is a deploy, from
    /// when and by how much that grows.
    pub fn new(
        load: Load,
        cores_per_request: f64,
        utilisation: f64,
        demand_from: Option<(f64, f64)>,
        min_replicas: u32,
    ) -> Self {
        Self {
            load,
            cores_per_request,
            utilisation,
            demand_from,
            min_replicas,
        }
    }

    fn replicas(&self, second: usize, cpu_request: f64) -> u32 {
        let scale = match self.demand_from {
            Some((from, scale)) if second as f64 + PLAN_SECONDS as f64 > from => scale,
            _ => 1.0,
        };
        let mean = (second..second + PLAN_SECONDS)
            .map(|at| self.load.rate(at))
            .sum::<f64>()
            / PLAN_SECONDS as f64;
        let cores = mean * self.cores_per_request * scale;
        ((cores / (self.utilisation * cpu_request) - 0.02).ceil() as u32).max(self.min_replicas)
    }
}

impl Controller for Oracle {
    fn interval_seconds(&self) -> f64 {
        PLAN_SECONDS as f64
    }

    fn act(&mut self, world: &mut World, now: f64) {
        let replicas = self.replicas(now as usize, world.deployment.size.cpu_request);
        world.scale_at_once(replicas, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_the_pods_of_the_seconds_to_come() {
        let mut rates = vec![10.0; 15];
        rates.extend(vec![40.0; 15]);
        let oracle = Oracle::new(Load::new(rates), 0.1, 0.5, None, 1);
        assert_eq!(oracle.replicas(0, 1.0), 2);
        assert_eq!(oracle.replicas(15, 1.0), 8);
    }

    #[test]
    fn it_knows_of_a_deploy() {
        let oracle = Oracle::new(Load::new(vec![10.0; 60]), 0.1, 0.5, Some((30.0, 1.5)), 1);
        assert_eq!((oracle.replicas(0, 1.0), oracle.replicas(30, 1.0)), (2, 3));
    }
}
