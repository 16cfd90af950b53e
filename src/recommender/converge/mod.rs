//! Makes a running workload take the values in force, by asking for admission once more.
//!
//! The values themselves are not in any request: an empty patch to `deployments/scale`, to `pods/resize`, or to a
//! HorizontalPodAutoscaler that the model steers, makes the API server run the mutating webhooks, and what they set takes
//! effect. Each request is tried as a dry run first. Where that does not answer with the values of the plan, admission is
//! not at work, and nothing is asked for.

mod compare;
pub mod requests;
pub mod services;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::{Client, ResourceExt};
use tokio::time::sleep;

use super::lease::Leadership;
use super::subjects::{Matched, desired_replicas};
use crate::core::decision::Decision;
use crate::core::observation::{PodPhase, Resources};
use crate::report::metrics::CycleMetrics;
use crate::scrape::pods;
use compare::{differs, is_current, is_infeasible, plan_of, slipped};
use requests::{Outcome, Requests};

/// How long a pod that was asked about is left alone, unless the plan changes.
const ASK_AGAIN: Duration = Duration::from_secs(600);

/// Least time between two evictions from a Deployment.
const BETWEEN_EVICTIONS: Duration = Duration::from_secs(60);

/// Least time between two re-admissions of an autoscaler: it has to be given time to act on its bounds.
const BETWEEN_AUTOSCALERS: Duration = Duration::from_secs(15);

/// Reason of a pod that is to be evicted, when its turn comes.
const WAITS: &str = "EvictionWaits";

/// Share of a Deployment's pods that are resized in one cycle; at least one.
const RESIZED_AT_ONCE: f64 = 0.1;

/// How often a dry run for a new plan is tried again before the next cycle does.
const LOOKS: usize = 3;

/// Time between two tries.
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

/// How far a workload is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whether replicas and pods carry the values in force.
    pub converged: bool,
    /// Why, in one word.
    pub reason: &'static str,
    /// Why, in a sentence.
    pub message: String,
}

/// What is remembered between cycles.
#[derive(Clone, Debug, Default)]
pub struct Convergence {
    /// How far the workload is.
    pub standing: Option<Standing>,
    wanted_replicas: Option<u32>,
    asked: HashMap<String, (Vec<(String, Resources)>, Instant)>,
    autoscaler_asked: Option<Instant>,
    evicted: Option<Instant>,
}

/// Asks for admission once more.
#[derive(Clone)]
pub struct Converger {
    requests: Requests,
    evict: bool,
}

impl Converger {
    /// Evicts pods that only a new one can replace where `evict` is set.
    #[must_use]
    pub fn new(client: Client, leadership: Leadership, metrics: CycleMetrics, evict: bool) -> Self {
        Self {
            requests: Requests::new(client, leadership, metrics),
            evict,
        }
    }

    /// What it asks with.
    #[must_use]
    pub fn requests(&self) -> Requests {
        self.requests.clone()
    }

    /// Brings one live Deployment nearer to its plan.
    pub async fn converge(
        &self,
        matched: &Matched,
        decision: &Decision,
        mut memory: Convergence,
        now_seconds: f64,
    ) -> Convergence {
        memory.forget(matched);
        let standing = match hindrance(matched, now_seconds) {
            Some((reason, message)) => Standing {
                converged: false,
                reason,
                message,
            },
            None => self.advance(matched, decision, &mut memory).await,
        };
        memory.standing = Some(standing);
        memory
    }

    async fn advance(&self, matched: &Matched, decision: &Decision, memory: &mut Convergence) -> Standing {
        let replicas = match &matched.horizontal {
            Some(name) if matched.steers_horizontal => self.autoscaler(matched, name, memory).await,
            Some(_) => None,
            None => self.replicas(matched, decision, memory).await,
        };
        let resources = if matched.vertical.is_some() {
            None
        } else {
            self.resources(matched, decision, memory).await
        };
        let sidecar = if replicas.is_none() && resources.is_none() {
            self.slipped(matched, memory).await
        } else {
            None
        };
        replicas
            .or(resources)
            .or(sidecar)
            .unwrap_or_else(|| standing(true, "Converged", "replicas and pods carry the values in force"))
    }

    async fn replicas(&self, matched: &Matched, decision: &Decision, memory: &mut Convergence) -> Option<Standing> {
        let wanted = decision.replicas?;
        let present = desired_replicas(&matched.deployment);
        let is_new = memory.wanted_replicas.replace(wanted) != Some(wanted);
        if present == wanted {
            return None;
        }
        let (namespace, name) = (&matched.subject.namespace, &matched.subject.name);
        let mut outcome = self.requests.scale(namespace, name, present).await;
        // Every replica of the webhook learns a new plan from its own watch; they need a moment.
        for _ in 0..if is_new { LOOKS } else { 0 } {
            if !matches!(outcome, Outcome::Unchanged) {
                break;
            }
            sleep(BETWEEN_LOOKS).await;
            outcome = self.requests.scale(namespace, name, present).await;
        }
        Some(match outcome {
            Outcome::Done => standing(
                false,
                "Scaling",
                format!("re-admitted from {present} towards {wanted} replicas"),
            ),
            Outcome::NotAdmitted | Outcome::Unchanged => standing(
                false,
                "NotAdmitted",
                format!("admission does not answer with {wanted} replicas yet"),
            ),
            Outcome::Refused(error) => standing(false, "Refused", error),
            Outcome::Failed(error) => standing(false, "Failed", error),
        })
    }

    /// An autoscaler that its owner lets the model steer gets its bounds at its own admission, when they would be others.
    async fn autoscaler(&self, matched: &Matched, name: &str, memory: &mut Convergence) -> Option<Standing> {
        if !matched.horizontal_is_pending {
            return None;
        }
        if memory
            .autoscaler_asked
            .is_some_and(|at| at.elapsed() < BETWEEN_AUTOSCALERS)
        {
            let message = format!("the HorizontalPodAutoscaler {name} has other bounds than the model");
            return Some(standing(false, "Scaling", message));
        }
        memory.autoscaler_asked = Some(Instant::now());
        match self.requests.autoscaler(&matched.subject.namespace, name).await {
            Outcome::Done => Some(standing(
                false,
                "Scaling",
                format!("the HorizontalPodAutoscaler {name} was re-admitted"),
            )),
            Outcome::Refused(error) => Some(standing(false, "Refused", error)),
            Outcome::Failed(error) => Some(standing(false, "Failed", error)),
            Outcome::NotAdmitted | Outcome::Unchanged => Some(standing(
                false,
                "NotAdmitted",
                format!("admission does not answer for the HorizontalPodAutoscaler {name} yet"),
            )),
        }
    }

    async fn resources(&self, matched: &Matched, decision: &Decision, memory: &mut Convergence) -> Option<Standing> {
        let current = || {
            matched
                .subject
                .pods
                .iter()
                .map(AsRef::as_ref)
                .filter(|pod| is_current(pod, matched))
        };
        if let Some(stranded) = current().find(|pod| is_infeasible(pod)) {
            return Some(
                self.evict(stranded, "cannot be resized in place", matched, memory)
                    .await,
            );
        }
        let differing: Vec<&Pod> = current()
            .filter(|pod| pods::phase(pod, 0.0) == PodPhase::Ready)
            .filter(|pod| differs(pod, decision) && !memory.was_asked(pod, decision))
            .collect();
        let most = ((matched.subject.pods.len() as f64 * RESIZED_AT_ONCE) as usize).max(1);
        let mut told = None;
        for pod in differing.iter().take(most) {
            let outcome = self.requests.resize(pod).await;
            let is_answered = !matches!(outcome, Outcome::NotAdmitted | Outcome::Failed(_));
            told = match outcome {
                Outcome::Refused(_) => Some(self.evict(pod, "cannot be resized in place", matched, memory).await),
                outcome => resizing(pod, outcome, differing.len()),
            };
            let waits = told.as_ref().is_some_and(|told| told.reason == WAITS);
            if is_answered && !waits {
                memory.ask(pod, decision);
            }
        }
        told
    }

    /// Replaces a pod that was admitted without a sidecar while its siblings got one: admission was away then.
    async fn slipped(&self, matched: &Matched, memory: &mut Convergence) -> Option<Standing> {
        let pod = slipped(matched).next()?;
        Some(
            self.evict(pod, "was admitted without its sidecar", matched, memory)
                .await,
        )
    }

    /// Evicts a pod, so that the one in its place is admitted with the values in force. One at a time, and only while
    /// every other pod serves; PodDisruptionBudgets hold.
    async fn evict(&self, pod: &Pod, why: &str, matched: &Matched, memory: &mut Convergence) -> Standing {
        let name = pod.name_any();
        if !self.evict {
            return standing(
                false,
                "EvictionOff",
                format!("{name} {why}, and evictions are turned off"),
            );
        }
        let all_serve = matched
            .subject
            .pods
            .iter()
            .all(|pod| pods::phase(pod, 0.0) == PodPhase::Ready);
        let all_there = matched.subject.pods.len() >= desired_replicas(&matched.deployment) as usize;
        let recently = memory.evicted.is_some_and(|at| at.elapsed() < BETWEEN_EVICTIONS);
        if !all_serve || !all_there || recently {
            return standing(false, WAITS, format!("{name} {why}; it waits for its eviction"));
        }
        match self.requests.evict(&matched.subject.namespace, &name).await {
            Ok(()) => {
                memory.evicted = Some(Instant::now());
                standing(false, "Evicted", format!("{name} {why} and was evicted"))
            }
            Err(error) => standing(false, "EvictionRefused", error),
        }
    }
}

impl Convergence {
    fn was_asked(&self, pod: &Pod, decision: &Decision) -> bool {
        let asked = self.asked.get(&pod.uid().unwrap_or_default());
        asked.is_some_and(|(plan, at)| *plan == plan_of(decision) && at.elapsed() < ASK_AGAIN)
    }

    fn ask(&mut self, pod: &Pod, decision: &Decision) {
        self.asked
            .insert(pod.uid().unwrap_or_default(), (plan_of(decision), Instant::now()));
    }

    /// Forgets pods that are gone.
    fn forget(&mut self, matched: &Matched) {
        self.asked.retain(|unique, _| {
            matched
                .subject
                .pods
                .iter()
                .any(|pod| pod.uid().as_deref() == Some(unique))
        });
    }
}

/// Pods that were admitted without the sidecar that their siblings carry.
pub fn slipped_pods(matched: &Matched) -> usize {
    slipped(matched).count()
}

/// Why nothing is asked for now.
fn hindrance(matched: &Matched, now_seconds: f64) -> Option<(&'static str, String)> {
    let deployment = &matched.deployment;
    if desired_replicas(deployment) == 0 {
        return Some((
            "ScaledToZero",
            "the Deployment was scaled to 0 and is left alone".to_owned(),
        ));
    }
    if deployment.spec.paused == Some(true) {
        return Some(("Paused", "the Deployment is paused".to_owned()));
    }
    let conditions = deployment
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let mut stuck = conditions.filter(|condition| {
        condition.type_.as_deref() == Some("Progressing") && condition.status.as_deref() == Some("False")
    });
    if let Some(condition) = stuck.next() {
        let message = condition.message.clone().unwrap_or_default();
        return Some(("RolloutStuck", format!("the rollout does not progress: {message}")));
    }
    let failing = matched
        .subject
        .pods
        .iter()
        .find(|pod| pods::phase(pod, now_seconds) == PodPhase::Failing);
    failing.map(|pod| ("PodFailing", format!("{} cannot start", pod.name_any())))
}

fn resizing(pod: &Pod, outcome: Outcome, pods: usize) -> Option<Standing> {
    let name = pod.name_any();
    match outcome {
        Outcome::Done => Some(standing(
            false,
            "Resizing",
            format!("{name} re-admitted; {pods} pods differed"),
        )),
        // Admission leaves it as it is: a limit of the namespace, or its quality of service, stands in the way.
        Outcome::Unchanged => None,
        Outcome::NotAdmitted => Some(standing(
            false,
            "NotAdmitted",
            format!("admission does not answer for {name} yet"),
        )),
        Outcome::Refused(error) => Some(standing(false, "Refused", error)),
        Outcome::Failed(error) => Some(standing(false, "Failed", error)),
    }
}

fn standing(converged: bool, reason: &'static str, message: impl Into<String>) -> Standing {
    Standing {
        converged,
        reason,
        message: message.into(),
    }
}
