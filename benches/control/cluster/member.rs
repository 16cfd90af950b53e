//! One pod as the cluster sees it.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use valence_playground::application::Pod;

use super::deployment::Size;
use super::metrics::PodMetrics;

/// Where a pod stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not ready yet.
    Starting,
    /// Gets requests.
    Ready,
    /// Gets no more requests and leaves when the last is answered.
    Terminating,
}

/// A pod with what surrounds it.
#[derive(Debug)]
pub struct Member {
    /// Name within the run.
    pub id: u64,
    /// The application in it.
    pub pod: Pod,
    /// How far it is.
    pub phase: Phase,
    /// When it was created.
    pub created_at: f64,
    /// When it was told to leave.
    pub terminating_since: f64,
    /// Revision of the Deployment that it was made from.
    pub revision: u32,
    /// Version of the code in it.
    pub version: u32,
    /// Its requests and limits now.
    pub size: Size,
    /// What is measured of it.
    pub metrics: PodMetrics,
    /// CPU used by the last tick, in seconds.
    pub used_seconds: f64,
    /// Whether the kernel killed it for memory, and when last.
    pub killed_for_memory_at: Option<f64>,
    neighbours: Neighbours,
}

/// The other pods of the node: at times they use all that they were promised, and then this one gets no more than that.
#[derive(Debug)]
struct Neighbours {
    busy: bool,
    until: f64,
    busy_seconds: f64,
    idle_seconds: f64,
    rng: StdRng,
}

impl Neighbours {
    fn new(seed: u64, contended_share: f64, episode_seconds: f64, now: f64) -> Self {
        let rng = StdRng::seed_from_u64(seed);
        let share = contended_share.clamp(0.0, 0.99);
        let idle_seconds = if share > 0.0 {
            episode_seconds * (1.0 - share) / share
        } else {
            f64::INFINITY
        };
        let mut neighbours = Self {
            busy: false,
            until: now,
            busy_seconds: episode_seconds,
            idle_seconds,
            rng,
        };
        neighbours.busy = neighbours.rng.random::<f64>() >= share;
        neighbours.step(now);
        neighbours
    }

    /// Goes on to `now`; true when it changed.
    fn step(&mut self, now: f64) -> bool {
        let before = self.busy;
        while self.until <= now {
            self.busy = !self.busy;
            let mean = if self.busy {
                self.busy_seconds
            } else {
                self.idle_seconds
            };
            self.until += -mean * (1.0 - self.rng.random::<f64>()).ln() + 1e-3;
        }
        self.busy != before
    }
}

impl Member {
    /// A pod of the given application and size; `contended_share` of the time its node has nothing beyond its request.
    #[expect(clippy::too_many_arguments, reason = "a constructor of one place")]
    pub fn new(
        id: u64,
        pod: Pod,
        size: Size,
        revision: u32,
        version: u32,
        metrics: PodMetrics,
        (contended_share, episode_seconds, seed): (f64, f64, u64),
        now: f64,
    ) -> Self {
        Self {
            id,
            pod,
            phase: Phase::Starting,
            created_at: now,
            terminating_since: f64::INFINITY,
            revision,
            version,
            size,
            metrics,
            used_seconds: 0.0,
            killed_for_memory_at: None,
            neighbours: Neighbours::new(seed, contended_share, episode_seconds, now),
        }
    }

    /// Changes requests and limits in place.
    pub fn resize(&mut self, size: Size, node_cores: f64) {
        self.size = size;
        self.pod
            .set_cpu_limit(size.cpu_limit.is_finite().then_some(size.cpu_limit));
        self.share_node(node_cores);
    }

    /// Follows the node's other pods.
    pub fn follow_node(&mut self, now: f64, node_cores: f64) {
        if self.neighbours.step(now) {
            self.share_node(node_cores);
        }
    }

    /// Gives the pod what its node has for it now.
    pub fn share_node(&mut self, node_cores: f64) {
        let contended = self.neighbours.busy;
        self.pod.set_cpu_capacity(if contended {
            self.size.cpu_request.min(node_cores)
        } else {
            node_cores
        });
    }
}
