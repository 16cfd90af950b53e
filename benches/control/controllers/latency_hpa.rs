//! HorizontalPodAutoscaler on p99 latency as an external metric.
//!
//! The same controller as on CPU (`desired = ceil(current * value / target)`, tolerance, behaviour), with the p99 of
//! the last minute as Prometheus and its adapter give it: `histogram_quantile` over a rate of one minute, read every
//! 15 s. The target is 80% of the objective, to have room for the lag.

use std::collections::{BTreeMap, VecDeque};

use super::hpa::{Behaviour, HpaSettings};
use super::{Controller, SIDECAR_REQUEST};
use crate::cluster::World;

/// The autoscaler.
pub struct LatencyHpa {
    settings: HpaSettings,
    target_seconds: f64,
    behaviour: Behaviour,
    scrapes: VecDeque<(f64, BTreeMap<u64, Vec<u64>>)>,
}

impl LatencyHpa {
    /// One that keeps p99 at 80% of `objective_seconds`. Where more pods do not help it adds them all the same, up to
    /// `max_replicas`.
    pub fn new(objective_seconds: f64, min_replicas: u32, max_replicas: u32) -> Self {
        Self {
            settings: HpaSettings {
                max_replicas,
                ..HpaSettings::at(1.0, min_replicas)
            },
            target_seconds: 0.8 * objective_seconds,
            behaviour: Behaviour::default(),
            scrapes: VecDeque::new(),
        }
    }

    /// p99 of the last minute, interpolated linearly within its bucket as `histogram_quantile` does.
    fn p99(&mut self, world: &World, now: f64) -> Option<f64> {
        let pods = world.members.iter();
        let pods = pods.map(|member| (member.id, member.metrics.answered.clone()));
        self.scrapes.push_back((now, pods.collect()));
        while self.scrapes.len() > 1 && self.scrapes[0].0 < now - 60.5 {
            self.scrapes.pop_front();
        }
        let counts = increase(self.scrapes.iter().map(|(_, pods)| pods), world.ladder.buckets());
        quantile(&world.ladder.upper_bounds_seconds, &counts, 0.99)
    }
}

/// By how much each bucket grew over the scrapes, pod by pod, as `sum(increase())` has it: a pod that left in between counts
/// with what it was seen to answer, and one that came with what it answered since it was first seen.
fn increase<'a>(scrapes: impl Iterator<Item = &'a BTreeMap<u64, Vec<u64>>>, buckets: usize) -> Vec<u64> {
    let mut spans: BTreeMap<u64, (&[u64], &[u64])> = BTreeMap::new();
    for (pod, counts) in scrapes.flatten() {
        spans.entry(*pod).or_insert((counts, counts)).1 = counts;
    }
    let mut sum = vec![0; buckets];
    for (first, last) in spans.into_values() {
        let grown = last.iter().zip(first).map(|(last, first)| last - first);
        sum.iter_mut().zip(grown).for_each(|(sum, grown)| *sum += grown);
    }
    sum
}

fn quantile(bounds: &[f64], counts: &[u64], share: f64) -> Option<f64> {
    let total: u64 = counts.iter().sum();
    let rank = share * total as f64;
    let mut below = 0.0;
    for (index, &count) in counts.iter().enumerate() {
        let count = count as f64;
        if count > 0.0 && below + count >= rank {
            let Some(&upper) = bounds.get(index) else {
                return bounds.last().copied();
            };
            let lower = if index == 0 { 0.0 } else { bounds[index - 1] };
            return Some(lower + (upper - lower) * (rank - below) / count);
        }
        below += count;
    }
    None
}

impl Controller for LatencyHpa {
    fn act(&mut self, world: &mut World, now: f64) {
        // Somebody has to measure latency for it as well.
        world.beside = SIDECAR_REQUEST;
        if world.blackout {
            return;
        }
        let current = world.deployment.replicas;
        let Some(p99) = self.p99(world, now) else { return };
        let ratio = p99 / self.target_seconds;
        let ready = world.ready_pods() as f64;
        let steady = (ratio - 1.0).abs() <= self.settings.tolerance;
        let desired = if steady {
            current
        } else {
            (ratio * ready - 1e-9).ceil() as u32
        };
        let replicas = self.behaviour.apply(&self.settings, current, desired, now);
        world.scale(replicas);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_that_leaves_takes_nothing_from_the_others() {
        let scrape = |pods: &[(u64, u64)]| pods.iter().map(|&(pod, count)| (pod, vec![count])).collect();
        let scrapes: [BTreeMap<u64, Vec<u64>>; 3] = [
            scrape(&[(1, 100), (2, 5000)]),
            scrape(&[(1, 110), (2, 5020), (3, 7)]),
            scrape(&[(1, 120), (3, 10)]),
        ];
        assert_eq!(increase(scrapes.iter(), 1), vec![20 + 20 + 3]);
    }

    #[test]
    fn the_quantile_is_interpolated_within_its_bucket() {
        // 100 requests up to 0.1 s, 100 between 0.1 and 0.2 s: the median is at 0.1 s, three quarters at 0.15 s.
        assert_eq!(quantile(&[0.1, 0.2], &[100, 100, 0], 0.5), Some(0.1));
        let upper = quantile(&[0.1, 0.2], &[100, 100, 0], 0.75);
        assert!(upper.is_some_and(|value| (value - 0.15).abs() < 1e-9));
        // Beyond the last bound Prometheus answers with that bound.
        assert_eq!(quantile(&[0.1, 0.2], &[0, 0, 10], 0.99), Some(0.2));
        assert_eq!(quantile(&[0.1, 0.2], &[0, 0, 0], 0.99), None);
    }
}
