//! K8s-CPU and K8s-CPU-Fast of the Autothrottle paper (NSDI 2024, section 5.1): the rule of the HPA applied to the CPU
//! limit of each pod. Every `m` seconds the mean usage over `m` divided by the target is a proposal, and the limit is
//! the highest proposal of the last `s` seconds; `m = 15, s = 300`, and for Fast `m = 1, s = 20`. An agent on the
//! node applies it, so nothing restarts.

use std::collections::VecDeque;

use super::Controller;
use crate::cluster::World;

#[derive(Default)]
struct PodState {
    id: u64,
    used_seconds: f64,
    at: f64,
    proposals: VecDeque<f64>,
}

/// One agent for all pods.
pub struct KubernetesCpu {
    target: f64,
    interval_seconds: f64,
    memory: usize,
    pods: Vec<PodState>,
}

impl KubernetesCpu {
    /// The fast one: proposals every second, remembered for 20 s.
    pub fn fast(target: f64) -> Self {
        Self {
            target,
            interval_seconds: 1.0,
            memory: 20,
            pods: Vec::new(),
        }
    }

    fn limit(&mut self, id: u64, used_seconds: f64, now: f64) -> Option<f64> {
        let memory = self.memory;
        let Some(pod) = self.pods.iter_mut().find(|pod| pod.id == id) else {
            self.pods.push(PodState {
                id,
                used_seconds,
                at: now,
                proposals: VecDeque::new(),
            });
            return None;
        };
        let usage = (used_seconds - pod.used_seconds) / (now - pod.at);
        (pod.used_seconds, pod.at) = (used_seconds, now);
        pod.proposals.push_back(usage / self.target);
        if pod.proposals.len() > memory {
            pod.proposals.pop_front();
        }
        Some(pod.proposals.iter().copied().fold(0.01, f64::max))
    }
}

impl Controller for KubernetesCpu {
    fn interval_seconds(&self) -> f64 {
        self.interval_seconds
    }

    fn act(&mut self, world: &mut World, now: f64) {
        for index in 0..world.members.len() {
            let member = &world.members[index];
            let (id, used) = (member.id, member.pod.cpu_used_seconds());
            if let Some(limit) = self.limit(id, used, now) {
                world.set_quota(index, limit.min(world.settings.node_cores));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_the_highest_proposal_of_the_window() {
        let mut agent = KubernetesCpu::fast(0.5);
        assert_eq!(agent.limit(1, 0.0, 0.0), None);
        assert_eq!(agent.limit(1, 0.5, 1.0), Some(1.0));
        // Usage falls at once; the limit follows after 20 proposals.
        let mut used = 0.5;
        for second in 2..=20 {
            used += 0.1;
            assert_eq!(agent.limit(1, used, f64::from(second)), Some(1.0));
        }
        used += 0.1;
        let limit = agent.limit(1, used, 21.0).unwrap_or(0.0);
        assert!((limit - 0.2).abs() < 1e-9, "{limit}");
    }
}
