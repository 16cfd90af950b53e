//! What can be measured of a pod, and how late it is known.

use std::sync::Arc;

/// Ratio of two neighbouring edges of the sidecar's histogram.
const LADDER_RATIO: f64 = 1.15;

/// Edges below and above the objective.
const EDGES_BELOW: i32 = 30;
const EDGES_ABOVE: i32 = 20;

/// Bucket edges of the sidecar's histogram: geometric, with one exactly at the objective.
#[derive(Clone, Debug)]
pub struct Ladder {
    /// Upper bounds in seconds, ascending.
    pub upper_bounds_seconds: Arc<[f64]>,
    objective_seconds: f64,
}

impl Ladder {
    /// The ladder of an objective.
    pub fn new(objective_seconds: f64) -> Self {
        let bounds = (-EDGES_BELOW..=EDGES_ABOVE).map(|step| objective_seconds * LADDER_RATIO.powi(step));
        Self {
            upper_bounds_seconds: bounds.collect(),
            objective_seconds,
        }
    }

    /// Buckets, the last, infinite one included.
    pub fn buckets(&self) -> usize {
        self.upper_bounds_seconds.len() + 1
    }

    /// The bucket of a response time: the first whose bound is not below it.
    pub fn bucket(&self, seconds: f64) -> usize {
        let place = (seconds / self.objective_seconds).ln() / LADDER_RATIO.ln();
        let guess = (place.ceil() as i32 + EDGES_BELOW).clamp(0, self.buckets() as i32 - 1) as usize;
        // Rounding of the logarithm must not carry a response time over an edge.
        if guess > 0 && seconds <= self.upper_bounds_seconds[guess - 1] {
            guess - 1
        } else if guess < self.upper_bounds_seconds.len() && seconds > self.upper_bounds_seconds[guess] {
            guess + 1
        } else {
            guess
        }
    }
}

/// Counters of one pod and what was read of them.
#[derive(Clone, Debug)]
pub struct PodMetrics {
    /// Requests answered, by bucket, since the pod began: the sidecar's counters.
    pub answered: Vec<u64>,
    /// Requests that began.
    pub began: u64,
    /// Requests that failed.
    pub failed: u64,
    /// CPU used in cores over the metrics server's last window that is visible by now.
    pub cpu: Option<f64>,
    /// Working set of the same instant in bytes.
    pub memory: Option<u64>,
    pending: Option<(f64, u64)>,
    used_seconds_then: Option<(f64, f64)>,
}

impl PodMetrics {
    /// Nothing measured yet.
    pub fn new(ladder: &Ladder) -> Self {
        Self {
            answered: vec![0; ladder.buckets()],
            began: 0,
            failed: 0,
            cpu: None,
            memory: None,
            pending: None,
            used_seconds_then: None,
        }
    }

    /// The metrics server reads the pod. A usage needs two readings, so a new pod has none in its first window.
    pub fn read(&mut self, now: f64, used_seconds: f64, memory: u64) {
        if let Some((then, used_then)) = self.used_seconds_then
            && now > then
        {
            self.pending = Some(((used_seconds - used_then) / (now - then), memory));
        }
        self.used_seconds_then = Some((now, used_seconds));
    }

    /// What was read becomes visible.
    pub fn publish(&mut self) {
        if let Some((cpu, memory)) = self.pending.take() {
            self.cpu = Some(cpu);
            self.memory = Some(memory);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_objective_is_an_edge() {
        let ladder = Ladder::new(0.1);
        let edge = ladder
            .upper_bounds_seconds
            .iter()
            .position(|&bound| (bound - 0.1).abs() < 1e-15);
        assert_eq!(edge, Some(30));
        assert_eq!(ladder.bucket(0.1), 30);
        assert_eq!(ladder.bucket(0.100_000_1), 31);
        assert_eq!(ladder.bucket(1e-9), 0);
        assert_eq!(ladder.bucket(1e9), ladder.buckets() - 1);
    }

    #[test]
    fn every_edge_holds_its_own_bound() {
        let ladder = Ladder::new(0.4);
        for (index, &bound) in ladder.upper_bounds_seconds.iter().enumerate() {
            assert_eq!(ladder.bucket(bound), index);
            assert_eq!(ladder.bucket(bound * 1.000_001), index + 1);
        }
    }

    #[test]
    fn usage_is_known_a_window_late() {
        let mut metrics = PodMetrics::new(&Ladder::new(0.1));
        metrics.read(0.0, 0.0, 1);
        metrics.publish();
        assert_eq!(metrics.cpu, None);
        metrics.read(15.0, 7.5, 2);
        assert_eq!(metrics.cpu, None);
        metrics.publish();
        assert_eq!((metrics.cpu, metrics.memory), (Some(0.5), Some(2)));
    }
}
