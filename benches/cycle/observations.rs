//! Applications made up for the measurement of a cycle: enough life in them that every part of the model works.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use valence::core::decision::Decision;
use valence::core::histogram::Histogram;
use valence::core::objective::Objective;
use valence::core::observation::{ContainerObservation, Observation, PodObservation, PodPhase, Resources};
use valence::core::units::{Bytes, Cores};

/// A Deployment whose load rises and falls over an hour.
pub struct Application {
    random: StdRng,
    phase: f64,
    pods: usize,
    /// Containers beside the application and its sidecar.
    helpers: Vec<String>,
    demand_core_seconds: f64,
    cpu: f64,
    edges: Arc<[f64]>,
}

impl Application {
    /// Number `index`, with its own load and cost of a request.
    pub fn new(index: usize, pods: usize) -> Self {
        let mut edges = vec![0.001];
        while edges.last().is_some_and(|last| *last < 60.0) {
            edges.push(edges.last().map_or(0.001, |last| last * 1.15));
        }
        Self {
            random: StdRng::seed_from_u64(index as u64),
            phase: index as f64 * 0.37,
            pods,
            helpers: Vec::new(),
            demand_core_seconds: 0.002 + (index % 17) as f64 * 0.0005,
            cpu: 1.0,
            edges: edges.into(),
        }
    }

    /// The same in pods that have so many containers beside the application and its sidecar.
    #[allow(dead_code, reason = "not everybody who makes these up has any")]
    pub fn with_helpers(self, helpers: usize) -> Self {
        Self {
            helpers: (0..helpers).map(|number| format!("helper-{number}")).collect(),
            ..self
        }
    }

    /// p99 under 100 ms.
    pub fn objective(&self) -> Objective {
        Objective {
            slo: "web".to_owned(),
            percentile: 0.99,
            response_time_seconds: 0.1,
            throughput_per_second: None,
        }
    }

    /// Does what was decided.
    pub fn follow(&mut self, decision: &Decision) {
        if let Some(cpu) = decision
            .containers
            .get("app")
            .and_then(|resources| resources.cpu_request)
        {
            self.cpu = cpu.0.max(0.1);
        }
    }

    /// One window.
    pub fn observe(&mut self, now: f64, window: f64) -> Observation {
        let load = 40.0
            * (1.5 + (now / 3600.0 * std::f64::consts::TAU + self.phase).sin())
            * self.random.random_range(0.95..1.05);
        let per_pod = (load * window) as u64;
        let utilisation = (load * self.demand_core_seconds / self.cpu).min(0.95);
        let mean = self.demand_core_seconds / (1.0 - utilisation) * 2.0;
        let mut latency = Histogram::empty(self.edges.clone());
        let total = per_pod * self.pods as u64;
        let mut before = 0.0;
        for (edge, count) in self.edges.iter().zip(&mut latency.counts) {
            let below = 1.0 - (-edge / mean).exp();
            *count = ((below - before) * total as f64).round() as u64;
            before = below;
        }
        let pods = (0..self.pods)
            .map(|index| self.pod(index, per_pod as f64 / window, load, now))
            .collect();
        Observation {
            at_seconds: now,
            window_seconds: window,
            load_per_second: total as f64 / window,
            failures: 0,
            latency,
            pods,
            template: "7c9d8b6f5d".to_owned(),
            desired_replicas: self.pods as u32,
            rolling_out: false,
        }
    }

    fn pod(&mut self, index: usize, requests_per_second: f64, load: f64, now: f64) -> PodObservation {
        let used = load * self.demand_core_seconds * self.random.random_range(0.97..1.03) + 0.01;
        let container = |cpu: f64, memory: u64, request: f64| ContainerObservation {
            cpu: Some(Cores(cpu)),
            memory: Some(Bytes(memory)),
            resources: Resources {
                cpu_request: Some(Cores(request)),
                cpu_limit: Some(Cores(request * 2.0)),
                memory_request: Some(Bytes(256 << 20)),
                memory_limit: Some(Bytes(512 << 20)),
            },
            killed_for_memory: false,
        };
        let mut containers: BTreeMap<_, _> = [
            ("app".to_owned(), container(used, 180 << 20, self.cpu)),
            ("envoy".to_owned(), container(used / 8.0, 40 << 20, 0.1)),
        ]
        .into();
        for name in &self.helpers {
            let share = 0.02 * self.random.random_range(0.9..1.1);
            containers.insert(name.clone(), container(used * share, 30 << 20, 0.05));
        }
        PodObservation {
            name: format!("pod-{index}"),
            template: "7c9d8b6f5d".to_owned(),
            phase: PodPhase::Ready,
            created_at_seconds: now - 7200.0,
            ready_at_seconds: Some(now - 7190.0),
            scraped: true,
            requests_per_second,
            containers,
        }
    }
}
