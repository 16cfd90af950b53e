//! A toy service for tests: pods that each serve one request at a time in order of arrival, driven by the advisor itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::advisor::Advisor;
use super::decision::{Bounds, Decision};
use super::histogram::Histogram;
use super::objective::Objective;
use super::observation::{ContainerObservation, Observation, PodObservation, PodPhase, Resources};
use super::settings::Settings;
use super::units::{Bytes, Cores};

/// Length of a window in seconds.
pub const WINDOW: f64 = 15.0;
const START_SECONDS: f64 = 40.0;
const EPOCH: f64 = 1.8e9;

/// One pod of the toy.
#[derive(Clone, Debug)]
struct Pod {
    id: u32,
    created: f64,
    free_at: f64,
    used: f64,
    /// Cores in use by window, the newest last.
    history: Vec<f64>,
}

/// The toy and what it is asked to do.
#[derive(Clone, Debug)]
pub struct Toy {
    /// Requests per second.
    pub load: f64,
    /// Core-seconds of a request.
    pub per_request: f64,
    /// Seconds that a request waits for something else.
    pub elsewhere: f64,
    /// Windows by which CPU figures lag behind.
    pub lag: usize,
    /// Whether metrics arrive.
    pub scraped: bool,
    /// Whether CPU and memory in use are told.
    pub measured: bool,
    /// Whether the kernel kills a pod in the next window.
    pub kill: bool,
    /// Template of the pods.
    pub template: String,
    /// Requests, and those later than the objective.
    pub served: (u64, u64),
    /// Now, in seconds since the Unix epoch.
    pub now: f64,
    size: Resources,
    pods: Vec<Pod>,
    next_id: u32,
    /// Edges of the histogram in seconds.
    pub bounds: Arc<[f64]>,
    /// Response time in seconds from which on a request is late.
    pub response_time: f64,
    seed: u64,
}

/// The objective of most tests: p99 within 200 ms.
pub fn objective() -> Objective {
    Objective {
        slo: "slo".into(),
        percentile: 0.99,
        response_time_seconds: 0.2,
        throughput_per_second: None,
    }
}

/// An advisor of a live Deployment.
pub fn advisor(objectives: Vec<Objective>) -> Advisor {
    Advisor::new(
        objectives,
        Bounds {
            live: true,
            ..Bounds::default()
        },
        Settings::default(),
    )
}

impl Toy {
    /// A service of `replicas` warm pods of one core each under `load` requests per second of 10 ms.
    pub fn new(replicas: u32, load: f64) -> Self {
        let size = Resources {
            cpu_request: Some(Cores(1.0)),
            cpu_limit: Some(Cores(1.0)),
            memory_request: Some(Bytes(256 << 20)),
            memory_limit: Some(Bytes(512 << 20)),
        };
        let mut toy = Self {
            load,
            per_request: 0.01,
            elsewhere: 0.01,
            lag: 0,
            scraped: true,
            measured: true,
            kill: false,
            template: "a".into(),
            served: (0, 0),
            now: EPOCH,
            size,
            pods: Vec::new(),
            next_id: 0,
            bounds: (-30..20).map(|step| 0.2 * 1.15_f64.powi(step)).collect(),
            response_time: 0.2,
            seed: 42,
        };
        toy.scale(replicas, EPOCH - 1000.0);
        toy
    }

    /// Pods.
    pub fn replicas(&self) -> u32 {
        self.pods.len() as u32
    }

    /// Requests and limits in force.
    pub fn size(&self) -> Resources {
        self.size
    }

    /// The same with other requests and limits.
    pub fn sized(mut self, size: Resources) -> Self {
        self.size = size;
        self
    }

    /// Lives through one window, and does what the advisor decides then.
    pub fn step(&mut self, advisor: &mut Advisor) -> Decision {
        let observation = self.observe();
        advisor.observe(&observation);
        let decision = advisor.decide(self.now);
        if let Some(resources) = decision.containers.get("app") {
            self.size = *resources;
        }
        if let Some(replicas) = decision.replicas {
            self.scale(replicas, self.now);
        }
        decision
    }

    /// Several windows; the last decision.
    pub fn steps(&mut self, advisor: &mut Advisor, count: u32) -> Decision {
        let mut last = self.step(advisor);
        (1..count).for_each(|_| last = self.step(advisor));
        last
    }

    /// Sets the clock back.
    pub fn turn_back(&mut self, seconds: f64) {
        self.now -= seconds;
        for pod in &mut self.pods {
            pod.created -= seconds;
            pod.free_at -= seconds;
        }
    }

    /// Lives through one window and tells what was measured.
    pub fn observe(&mut self) -> Observation {
        let from = self.now;
        self.now += WINDOW;
        let mut latency = Histogram::empty(Arc::clone(&self.bounds));
        self.pods.iter_mut().for_each(|pod| pod.used = 0.0);
        let mut at = from;
        loop {
            at += self.exponential() / self.load.max(1e-9);
            if at >= self.now {
                break;
            }
            self.serve(at, &mut latency);
        }
        self.pods.iter_mut().for_each(|pod| pod.history.push(pod.used / WINDOW));
        let kill = std::mem::take(&mut self.kill);
        if !self.scraped {
            latency = Histogram::empty(Arc::clone(&self.bounds));
        }
        Observation {
            at_seconds: self.now,
            window_seconds: WINDOW,
            load_per_second: latency.total() as f64 / WINDOW,
            latency,
            failures: 0,
            pods: self.pods.iter().map(|pod| self.pod(pod, kill)).collect(),
            template: self.template.clone(),
            desired_replicas: self.replicas(),
            rolling_out: false,
        }
    }

    fn serve(&mut self, at: f64, latency: &mut Histogram) {
        let ready: Vec<usize> = (0..self.pods.len())
            .filter(|&index| ready(&self.pods[index], at))
            .collect();
        let Some(&index) = ready.get((self.uniform() * ready.len() as f64) as usize) else {
            return;
        };
        let work = self.per_request * self.exponential();
        let speed = self.size.cpu_limit.map_or(1.0, |limit| limit.0.min(1.0));
        let pod = &mut self.pods[index];
        pod.free_at = pod.free_at.max(at) + work / speed;
        pod.used += work;
        let seconds = pod.free_at - at + self.elsewhere;
        latency.counts[self.bounds.partition_point(|&bound| bound < seconds)] += 1;
        self.served.0 += 1;
        self.served.1 += u64::from(seconds > self.response_time);
    }

    fn pod(&self, pod: &Pod, kill: bool) -> PodObservation {
        let is_ready = ready(pod, self.now);
        let container = ContainerObservation {
            cpu: self
                .lagging(pod)
                .filter(|_| is_ready && self.scraped && self.measured)
                .map(Cores),
            memory: (is_ready && self.scraped && self.measured).then_some(Bytes(200 << 20)),
            resources: self.size,
            killed_for_memory: kill && pod.id == 0,
        };
        PodObservation {
            name: format!("pod-{}", pod.id),
            template: self.template.clone(),
            phase: if is_ready { PodPhase::Ready } else { PodPhase::Starting },
            created_at_seconds: pod.created,
            ready_at_seconds: is_ready.then_some(pod.created + START_SECONDS),
            scraped: is_ready && self.scraped,
            requests_per_second: (pod.used / self.per_request).floor() / WINDOW,
            containers: BTreeMap::from([("app".to_owned(), container)]),
        }
    }

    fn lagging(&self, pod: &Pod) -> Option<f64> {
        pod.history.iter().rev().nth(self.lag).copied()
    }

    fn scale(&mut self, replicas: u32, now: f64) {
        while self.replicas() < replicas {
            self.pods.push(Pod {
                id: self.next_id,
                created: now,
                free_at: 0.0,
                used: 0.0,
                history: Vec::new(),
            });
            self.next_id += 1;
        }
        self.pods.truncate(replicas as usize);
    }

    fn uniform(&mut self) -> f64 {
        self.seed = self
            .seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn exponential(&mut self) -> f64 {
        -(1.0 - self.uniform()).ln()
    }
}

fn ready(pod: &Pod, at: f64) -> bool {
    at >= pod.created + START_SECONDS
}
