//! What is remembered of a managed Deployment between cycles.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use super::converge::Convergence;
use super::status::{noted_replicas, recorded};
use super::subjects::{Matched, desired_replicas};
use crate::api::RecommendationStatus;
use crate::api::conditions::{self, Condition};
use crate::core::decision::{Bounds, Decision, ModelState};
use crate::core::evidence;
use crate::core::objective::Objective;
use crate::core::observation::{Observation, PodPhase, Resources};
use crate::core::units::{Bytes, Cores};
use crate::core::{Advisor, Settings};
use crate::report::status::{Counted, Usage};

/// How far back the observed throughput looks, in seconds.
const THROUGHPUT_SECONDS: f64 = 60.0;

/// A managed Deployment.
pub struct Managed {
    advisor: Advisor,
    objectives: Vec<Objective>,
    bounds: Bounds,
    /// End and length of each window, and the requests per second that ended in it.
    windows: VecDeque<(f64, f64, f64)>,
    /// Requests counted against each objective.
    pub counted: Vec<Counted>,
    /// Replicas as the user wrote them.
    pub original_replicas: u32,
    /// What the last observation said.
    pub last: Option<Observation>,
    /// The decision of the predecessor that this one continues from, until there is one of its own.
    predecessor: Option<Decision>,
    /// The last decision.
    pub decision: Option<Decision>,
    /// Conditions as they were last decided.
    pub conditions: Vec<Condition>,
    /// Why pods could not be scraped: pod and reason.
    pub scrape_failures: Vec<(String, String)>,
    /// Re-admission under way.
    pub convergence: Convergence,
    /// The status as it was last written, and when.
    pub written: Option<(RecommendationStatus, Instant)>,
}

impl Managed {
    /// Continues from a checkpoint where there is one that can be read; the error says why there is none in use.
    #[must_use]
    pub fn new(matched: &Matched, checkpoint: &str, settings: &Settings) -> (Self, Option<String>) {
        let fresh = || Advisor::new(matched.objectives.clone(), matched.bounds.clone(), settings.clone());
        let (advisor, problem) = if checkpoint.is_empty() {
            (fresh(), None)
        } else {
            match Advisor::restore(
                checkpoint,
                matched.objectives.clone(),
                matched.bounds.clone(),
                settings.clone(),
            ) {
                Ok(advisor) => (advisor, None),
                Err(error) => (fresh(), Some(error.to_string())),
            }
        };
        let managed = Self {
            advisor,
            objectives: matched.objectives.clone(),
            bounds: matched.bounds.clone(),
            windows: VecDeque::new(),
            counted: vec![Counted::default(); matched.objectives.len()],
            original_replicas: noted_replicas(&matched.deployment)
                .unwrap_or_else(|| desired_replicas(&matched.deployment)),
            last: None,
            predecessor: None,
            decision: None,
            conditions: Vec::new(),
            scrape_failures: Vec::new(),
            convergence: Convergence::default(),
            written: None,
        };
        (managed, problem)
    }

    /// Whether it still holds to the last decision of its predecessor.
    #[must_use]
    pub fn is_continuing(&self) -> bool {
        self.predecessor.is_some()
    }

    /// Takes over from the status what is in no checkpoint.
    pub fn continue_from(&mut self, status: &RecommendationStatus) {
        self.conditions.clone_from(&status.conditions);
        if let Some(converged) = conditions::find(&status.conditions, "Converged") {
            self.convergence.continue_from(&converged.reason);
        }
        self.predecessor = status.replicas.map(|_| recorded(status));
        let original = status.original.as_ref().filter(|_| status.live);
        if let Some(replicas) = original.and_then(|original| u32::try_from(original.replicas?).ok()) {
            self.original_replicas = replicas;
        }
    }

    /// Takes over what the user changed; what was learnt stays.
    pub fn follow(&mut self, matched: &Matched) {
        if let Some(noted) = noted_replicas(&matched.deployment) {
            self.original_replicas = noted;
        } else if !self.bounds.live {
            self.original_replicas = desired_replicas(&matched.deployment);
        }
        if self.objectives != matched.objectives {
            self.objectives.clone_from(&matched.objectives);
            self.counted = vec![Counted::default(); matched.objectives.len()];
            self.advisor.set_objectives(matched.objectives.clone());
        }
        if self.bounds != matched.bounds {
            self.bounds.clone_from(&matched.bounds);
            self.advisor.set_bounds(matched.bounds.clone());
        }
    }

    /// Takes in a window.
    pub fn observe(&mut self, observation: Observation, scrape_failures: Vec<(String, String)>) {
        for (objective, counted) in self.objectives.iter().zip(&mut self.counted) {
            let counts = evidence::count(&observation.latency, objective);
            counted.requests += counts.requests as u64;
            counted.exceeding += counts.exceeding.round() as u64;
        }
        let scraped = || observation.pods.iter().filter(|pod| pod.scraped);
        if scraped().next().is_some() {
            let ended = scraped().map(|pod| pod.requests_per_second).sum();
            self.windows
                .push_back((observation.at_seconds, observation.window_seconds, ended));
        }
        while self
            .windows
            .front()
            .is_some_and(|(at, ..)| observation.at_seconds - at > THROUGHPUT_SECONDS)
        {
            self.windows.pop_front();
        }
        self.advisor.observe(&observation);
        self.scrape_failures = scrape_failures;
        self.last = Some(observation);
    }

    /// Decides for now. A model that continues from a checkpoint holds to the last decision of its predecessor until it
    /// has measured something itself.
    pub fn decide(&mut self, now_seconds: f64) -> &Decision {
        let decision = self.advisor.decide(now_seconds);
        let decision = match self.predecessor.take() {
            Some(last) if decision.state == ModelState::Cold => self.predecessor.insert(last).clone(),
            _ => decision,
        };
        self.decision.insert(decision)
    }

    /// The model.
    #[must_use]
    pub fn advisor(&self) -> &Advisor {
        &self.advisor
    }

    /// The objectives in force.
    #[must_use]
    pub fn objectives(&self) -> &[Objective] {
        &self.objectives
    }

    /// The bounds in force.
    #[must_use]
    pub fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// Requests per second over the last minute; `None` without a measurement.
    #[must_use]
    pub fn load_per_second(&self) -> Option<f64> {
        let seconds: f64 = self.windows.iter().map(|(_, window, _)| window).sum();
        let requests: f64 = self.windows.iter().map(|(_, window, load)| window * load).sum();
        (seconds > 0.0).then(|| requests / seconds)
    }

    /// Pods that serve.
    #[must_use]
    pub fn ready_pods(&self) -> u32 {
        let pods = self.last.iter().flat_map(|observation| &observation.pods);
        u32::try_from(pods.filter(|pod| pod.phase == PodPhase::Ready).count()).unwrap_or(u32::MAX)
    }

    /// What the containers of the pods that serve use.
    #[must_use]
    pub fn usage(&self) -> BTreeMap<String, Usage> {
        let pods = self.last.iter().flat_map(|observation| &observation.pods);
        let ready = pods.filter(|pod| pod.phase == PodPhase::Ready);
        let mut seen: BTreeMap<String, (Vec<f64>, Option<Bytes>)> = BTreeMap::new();
        for (name, container) in ready.flat_map(|pod| &pod.containers) {
            let (cpu, memory) = seen.entry(name.clone()).or_default();
            cpu.extend(container.cpu.map(|cpu| cpu.0));
            *memory = (*memory).max(container.memory);
        }
        let mean = |all: Vec<f64>| (!all.is_empty()).then(|| Cores(all.iter().sum::<f64>() / all.len() as f64));
        seen.into_iter()
            .map(|(name, (cpu, memory))| (name, Usage { cpu: mean(cpu), memory }))
            .collect()
    }

    /// Requests and limits in force: those of the newest ready pod.
    #[must_use]
    pub fn current(&self) -> BTreeMap<String, Resources> {
        let pods = self.last.iter().flat_map(|observation| &observation.pods);
        let ready = pods.filter(|pod| pod.phase == PodPhase::Ready);
        let newest = ready.max_by(|a, b| a.created_at_seconds.total_cmp(&b.created_at_seconds));
        newest
            .map(|pod| {
                pod.containers
                    .iter()
                    .map(|(name, container)| (name.clone(), container.resources))
                    .collect()
            })
            .unwrap_or_default()
    }
}
