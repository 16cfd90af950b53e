//! Valence: the core that the operator runs, fed with what the operator can see.

use std::collections::BTreeMap;
use std::sync::Arc;

use valence::core::decision::Bounds;
use valence::core::histogram::Histogram;
use valence::core::objective::Objective;
use valence::core::observation::{ContainerObservation, Observation, PodObservation, PodPhase, Resources};
use valence::core::units::{Bytes, Cores};
use valence::core::{Advisor, Settings};
use valence_webhook::Rollout;

use super::{Controller, MOST_REPLICAS, SIDECAR_REQUEST};
use crate::cluster::{Member, Phase, Size, World};

/// Name of the application's container.
const CONTAINER: &str = "application";

/// Name of the sidecar, which the other controllers on CPU do without.
const SIDECAR: &str = "envoy";

/// CPU time of the sidecar for a request, in seconds: more than Envoy takes for one without TLS.
const SIDECAR_CPU_SECONDS: f64 = 0.0005;

/// Memory of the sidecar in bytes.
const SIDECAR_MEMORY: u64 = 40 << 20;

/// Requests of a window below which its percentile is not compared with the bound.
const LEAST_REQUESTS: u64 = 300;

/// How often the model's upper bound of latency lay above what then came.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Coverage {
    /// Windows compared.
    pub windows: u64,
    /// Of those, latency within the bound.
    pub within: u64,
    /// Windows that were not compared: pods came or went, or there were few requests.
    pub left_out: u64,
}

/// The controller.
pub struct Valence {
    advisor: Advisor,
    percentile: f64,
    scrape_seconds: f64,
    scraped_at: Option<f64>,
    scraped: BTreeMap<u64, (Vec<u64>, u64, u64, Option<f64>)>,
    bound: Option<(u32, Vec<(f64, f64)>)>,
    coverage: Coverage,
    planned: Option<u32>,
    trace: bool,
}

impl Valence {
    /// One with the operator's defaults, for an objective at every throughput.
    pub fn new(response_time_seconds: f64, percentile: f64, min_replicas: u32, settings: Settings) -> Self {
        let objective = Objective {
            slo: "benchmark".to_owned(),
            percentile,
            response_time_seconds,
            throughput_per_second: None,
        };
        let bounds = Bounds {
            min_replicas: Some(min_replicas),
            max_replicas: Some(MOST_REPLICAS),
            live: true,
            ..Bounds::default()
        };
        Self {
            percentile,
            scrape_seconds: settings.scrape_interval_seconds,
            scraped_at: None,
            advisor: Advisor::new(vec![objective], bounds, settings),
            scraped: BTreeMap::new(),
            bound: None,
            coverage: Coverage::default(),
            planned: None,
            trace: false,
        }
    }

    /// Prints every decision with its explanation.
    #[must_use]
    pub fn tracing(mut self) -> Self {
        self.trace = true;
        self
    }

    fn observe(&mut self, world: &World, now: f64) -> Observation {
        let mut latency = Histogram {
            upper_bounds_seconds: Arc::clone(&world.ladder.upper_bounds_seconds),
            counts: vec![0; world.ladder.buckets()],
        };
        // After a gap the counters have grown over all of it.
        let window_seconds = now - self.scraped_at.unwrap_or(now - self.scrape_seconds);
        if !world.blackout {
            self.scraped_at = Some(now);
        }
        let (mut arrivals, mut failures) = (0, 0);
        let mut pods = Vec::with_capacity(world.members.len());
        for member in &world.members {
            let scraped = !world.blackout && member.phase != Phase::Starting;
            let mut requests = 0;
            if scraped {
                let (answered, began, failed) = self.scrape(member);
                requests = answered.iter().sum();
                latency
                    .counts
                    .iter_mut()
                    .zip(&answered)
                    .for_each(|(sum, count)| *sum += count);
                arrivals += began;
                failures += failed;
            }
            pods.push(self.pod(world, member, scraped, requests as f64 / window_seconds));
        }
        Observation {
            at_seconds: now,
            window_seconds,
            load_per_second: latency.total().max(arrivals) as f64 / window_seconds,
            latency,
            failures,
            pods,
            template: format!("v{}", world.deployment.version),
            desired_replicas: world.deployment.replicas,
            rolling_out: is_rolling_out(world),
        }
    }

    /// What the pod's counters grew by since they were last read.
    fn scrape(&mut self, member: &Member) -> (Vec<u64>, u64, u64) {
        let metrics = &member.metrics;
        let before = self
            .scraped
            .entry(member.id)
            .or_insert_with(|| (vec![0; metrics.answered.len()], 0, 0, None));
        let answered = metrics
            .answered
            .iter()
            .zip(&before.0)
            .map(|(now, then)| now - then)
            .collect();
        let (began, failed) = (metrics.began - before.1, metrics.failed - before.2);
        (before.0, before.1, before.2) = (metrics.answered.clone(), metrics.began, metrics.failed);
        (answered, began, failed)
    }

    fn pod(&mut self, world: &World, member: &Member, scraped: bool, requests_per_second: f64) -> PodObservation {
        let known = (!world.blackout).then_some(&member.metrics);
        let killed_before = self
            .scraped
            .entry(member.id)
            .or_insert_with(|| (vec![0; member.metrics.answered.len()], 0, 0, None));
        let killed_for_memory = member.killed_for_memory_at.is_some() && killed_before.3 != member.killed_for_memory_at;
        killed_before.3 = member.killed_for_memory_at;
        let container = ContainerObservation {
            cpu: known.and_then(|metrics| metrics.cpu).map(Cores),
            memory: known.and_then(|metrics| metrics.memory).map(Bytes),
            resources: resources(&member.size),
            killed_for_memory,
        };
        PodObservation {
            name: format!("pod-{}", member.id),
            template: format!("v{}", member.version),
            phase: match member.phase {
                Phase::Starting => PodPhase::Starting,
                Phase::Ready => PodPhase::Ready,
                Phase::Terminating => PodPhase::Terminating,
            },
            created_at_seconds: member.created_at,
            ready_at_seconds: (member.phase != Phase::Starting).then(|| member.pod.ready_at()),
            scraped,
            requests_per_second,
            containers: BTreeMap::from([
                (CONTAINER.to_owned(), container),
                (
                    SIDECAR.to_owned(),
                    self.sidecar(world, requests_per_second, known.is_some()),
                ),
            ]),
        }
    }

    fn sidecar(&self, world: &World, requests_per_second: f64, known: bool) -> ContainerObservation {
        ContainerObservation {
            cpu: known.then_some(Cores(requests_per_second * SIDECAR_CPU_SECONDS)),
            memory: known.then_some(Bytes(SIDECAR_MEMORY)),
            resources: Resources {
                cpu_request: Some(Cores(world.beside)),
                cpu_limit: None,
                memory_request: Some(Bytes(64 << 20)),
                memory_limit: Some(Bytes(192 << 20)),
            },
            killed_for_memory: false,
        }
    }

    /// Holds the bound of the last decision against the window that followed it.
    fn check_bound(&mut self, world: &World, observation: &Observation) {
        let Some((pods, points)) = self.bound.take() else {
            return;
        };
        let total = observation.latency.total();
        let settled = pods == world.current_replicas() && world.ready_pods() as u32 == pods;
        if !world.judged {
            return;
        }
        if !settled || total < LEAST_REQUESTS {
            self.coverage.left_out += 1;
            return;
        }
        let load = total as f64 / observation.window_seconds;
        let (Some(bound), Some(seen)) = (
            interpolate(&points, load),
            observation.latency.quantile(self.percentile),
        ) else {
            self.coverage.left_out += 1;
            return;
        };
        self.coverage.windows += 1;
        self.coverage.within += u64::from(seen <= bound);
    }

    fn keep_bound(&mut self, world: &World) {
        let curves = self.advisor.curves();
        let Some(curve) = curves.first().filter(|curve| !curve.points.is_empty()) else {
            return;
        };
        let points = curve
            .points
            .iter()
            .map(|point| (point.load_per_second, point.upper_bound_seconds))
            .collect();
        self.bound = Some((world.ready_pods() as u32, points));
    }
}

fn resources(size: &Size) -> Resources {
    Resources {
        cpu_request: Some(Cores(size.cpu_request)),
        cpu_limit: size.cpu_limit.is_finite().then_some(Cores(size.cpu_limit)),
        memory_request: Some(Bytes(size.memory_request)),
        memory_limit: Some(Bytes(size.memory_limit)),
    }
}

/// Linear between the points, and beyond the last of them as between the last two; `None` of none.
fn interpolate(points: &[(f64, f64)], at: f64) -> Option<f64> {
    let above = points.iter().position(|(load, _)| *load >= at);
    let above = above.unwrap_or(points.len().checked_sub(1)?);
    let ((x1, y1), (x0, y0)) = (points[above], points[above.saturating_sub(1)]);
    Some(if x1 > x0 {
        y0 + (y1 - y0) * (at - x0) / (x1 - x0)
    } else {
        y1
    })
}

/// The size in force with what the decision says of it.
fn decided(current: Size, resources: &Resources) -> Size {
    Size {
        cpu_request: resources.cpu_request.map_or(current.cpu_request, |cores| cores.0),
        cpu_limit: resources.cpu_limit.map_or(current.cpu_limit, |cores| cores.0),
        memory_request: resources.memory_request.map_or(current.memory_request, |bytes| bytes.0),
        memory_limit: resources.memory_limit.map_or(current.memory_limit, |bytes| bytes.0),
    }
}

impl Controller for Valence {
    fn interval_seconds(&self) -> f64 {
        self.scrape_seconds
    }

    fn act(&mut self, world: &mut World, now: f64) {
        if self.scraped_at.is_none() {
            world.beside = SIDECAR_REQUEST;
        }
        let observation = self.observe(world, now);
        self.check_bound(world, &observation);
        self.advisor.observe(&observation);
        let decision = self.advisor.decide(now);
        if self.trace {
            eprintln!(
                "{now:6.0}s load {:6.1}/s p99 {:?} ready {} {:?} -> replicas {:?} {:?} | {:?}: {} | {:?}",
                observation.latency.total() as f64 / observation.window_seconds,
                observation.latency.quantile(self.percentile),
                world.ready_pods(),
                decision.state,
                decision.replicas,
                decision.containers.get(CONTAINER),
                decision.explanation.bound,
                decision.explanation.summary,
                decision.explanation.inputs,
            );
        }
        self.planned = decision.replicas;
        if let Some(resources) = decision.containers.get(CONTAINER) {
            world.resize(decided(world.deployment.size, resources));
        }
        if let Some(request) = decision.containers.get(SIDECAR).and_then(|sidecar| sidecar.cpu_request) {
            world.beside = request.0;
        }
        if let Some(replicas) = decision.replicas {
            world.scale(replicas);
        }
        self.keep_bound(world);
    }

    fn admit(&self, replicas: u32) -> u32 {
        // The webhook's part: the plan with headroom, and never fewer than run.
        let planned = Rollout::default().with_headroom(self.planned.unwrap_or(replicas));
        planned.max(replicas)
    }

    fn coverage(&self) -> Option<Coverage> {
        Some(self.coverage)
    }
}

/// Whether pods of two revisions stand side by side.
fn is_rolling_out(world: &World) -> bool {
    let mut staying = world.members.iter().filter(|member| member.phase != Phase::Terminating);
    let first = staying.next().map(|member| member.revision);
    staying.any(|member| Some(member.revision) != first)
}
