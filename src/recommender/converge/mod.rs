//! Makes a running workload take the values in force, by asking for admission once more.
//!
//! The values themselves are not in any request: an empty patch to `deployments/scale`, to `pods/resize`, or to a
//! HorizontalPodAutoscaler that the model steers, makes the API server run the mutating webhooks, and what they set takes
//! effect. Each request is tried as a dry run first. Where that does not answer with the values of the plan, admission is
//! not at work, and nothing is asked for.

#[cfg(test)]
mod asked;
mod compare;
mod eviction;
pub mod requests;
pub mod services;
mod situation;
#[cfg(test)]
mod tests;
mod trial;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use tokio::time::sleep;
use valence_webhook::Prospect;

use super::lease::Leadership;
use super::subjects::{Matched, desired_replicas};
use crate::core::decision::Decision;
use crate::core::observation::Resources;
use crate::report::metrics::CycleMetrics;
use crate::scrape::PodSummary;
use compare::{deferred_seconds, differs, is_infeasible, may_be_cured, plan_of, unsettled};
use eviction::{WAITS, objection};
use requests::{Outcome, Requests};
use situation::Situation;
use trial::{IN_VAIN, Trial, Verdict};

/// How long a pod that was asked about is left alone, unless the plan changes.
const ASK_AGAIN: Duration = Duration::from_secs(600);

/// How long the kubelet may take to judge a size that was just asked for.
const JUDGING: Duration = Duration::from_secs(15);

/// Least time between two re-admissions of an autoscaler: it has to be given time to act on its bounds.
const BETWEEN_AUTOSCALERS: Duration = Duration::from_secs(15);

/// How long a pod waits for room on its node before it may go to another, in times between two evictions.
const ROOM_PATIENCE: u32 = 5;

/// Reason of a pod that was evicted.
const EVICTED: &str = "Evicted";

/// Share of a Deployment's pods that are resized in one cycle; at least one.
const RESIZED_AT_ONCE: f64 = 0.1;

/// No more than so many of a Deployment, nor for longer: all others wait for the end of the cycle.
const RESIZED_AT_MOST: usize = 20;
const RESIZING: Duration = Duration::from_secs(5);

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

/// Requests and limits by container.
type Sizes = Vec<(String, Resources)>;

/// What is remembered between cycles.
#[derive(Clone, Debug, Default)]
pub struct Convergence {
    /// How far the workload is.
    pub standing: Option<Standing>,
    wanted_replicas: Option<u32>,
    /// Pods that were asked about, by their unique identifiers.
    asked: HashMap<Arc<str>, (Sizes, Instant)>,
    autoscaler_asked: Option<Instant>,
    evicted: Option<Instant>,
    trial: Option<Trial>,
    /// Whether a predecessor evicted for a sidecar in vain.
    lost: bool,
    /// Since when new pods are to get a sidecar, in seconds since the Unix epoch.
    pub injected_since: Option<f64>,
}

/// Asks for admission once more.
#[derive(Clone)]
pub struct Converger {
    requests: Requests,
    evict: bool,
    between_evictions: Duration,
    /// How long a pod waits for room on its node before it may go to another.
    room_patience: Duration,
}

impl Converger {
    /// Evicts pods that only a new one can replace where `evict` is set, one of a Deployment in `between_evictions`.
    #[must_use]
    pub fn new(
        client: Client,
        leadership: Leadership,
        metrics: CycleMetrics,
        evict: bool,
        between_evictions: Duration,
    ) -> Self {
        Self {
            requests: Requests::new(client, leadership, metrics),
            evict,
            between_evictions,
            room_patience: between_evictions * ROOM_PATIENCE,
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
        let situation = Situation::of(matched, now_seconds);
        memory.standing = Some(match &situation {
            Situation::Held(reason, message) => standing(false, reason, message),
            _ => {
                self.advance(matched, decision, &situation, &mut memory, now_seconds)
                    .await
            }
        });
        memory
    }

    async fn advance(
        &self,
        matched: &Matched,
        decision: &Decision,
        situation: &Situation,
        memory: &mut Convergence,
        now_seconds: f64,
    ) -> Standing {
        let sizes = matched.vertical.is_none();
        let pods = unpacked(matched);
        let cure = if sizes {
            self.cure(&pods, matched, decision, memory).await
        } else {
            None
        };
        if let Situation::Stuck(reason, message) = situation {
            return cure.unwrap_or_else(|| standing(false, reason, message));
        }
        let replicas = match &matched.horizontal {
            Some(name) if matched.steers_horizontal => self.autoscaler(matched, name, memory).await,
            Some(_) => None,
            None => self.replicas(matched, decision, situation, memory).await,
        };
        let resources = if sizes {
            self.resources(&pods, matched, decision, memory, now_seconds).await
        } else {
            None
        };
        let mut told = replicas.or(cure).or(resources);
        if told.is_none() {
            told = self.slipped(matched, memory).await;
        }
        let complaint = || {
            let (reason, message) = situation.complaint().or_else(|| unsettled_pod(&pods, now_seconds))?;
            Some(standing(false, reason, message))
        };
        told.or_else(complaint)
            .unwrap_or_else(|| standing(true, "Converged", "replicas and pods carry the values in force"))
    }

    async fn replicas(
        &self,
        matched: &Matched,
        decision: &Decision,
        situation: &Situation,
        memory: &mut Convergence,
    ) -> Option<Standing> {
        let wanted = decision.replicas?;
        let present = desired_replicas(&matched.deployment);
        let is_new = memory.wanted_replicas.replace(wanted) != Some(wanted);
        if present == wanted {
            return None;
        }
        if let Some(told) = not_now(matched, situation, present, wanted) {
            return Some(told);
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

    /// Sizes of pods that do not serve, and may with other ones. They have nothing to lose: all of them at once.
    async fn cure(
        &self,
        pods: &[Unpacked<'_>],
        matched: &Matched,
        decision: &Decision,
        memory: &mut Convergence,
    ) -> Option<Standing> {
        let ill: Vec<_> = pods
            .iter()
            .filter(|one| !one.summary.is_ready() && may_be_cured(&one.pod))
            .filter(|one| memory.is_owed(one, decision))
            .collect();
        self.resize(&ill, ill.len(), matched, decision, memory).await
    }

    async fn resources(
        &self,
        pods: &[Unpacked<'_>],
        matched: &Matched,
        decision: &Decision,
        memory: &mut Convergence,
        now_seconds: f64,
    ) -> Option<Standing> {
        if let Some((one, why)) = stranded(pods, decision, memory, self.room_patience, now_seconds) {
            return Some(self.evict(one.summary, why, matched, memory).await);
        }
        let differing: Vec<_> = pods
            .iter()
            .filter(|one| one.summary.is_ready() && memory.is_owed(one, decision))
            .collect();
        let most = ((matched.subject.pods.len() as f64 * RESIZED_AT_ONCE) as usize).max(1);
        self.resize(&differing, most, matched, decision, memory).await
    }

    async fn resize(
        &self,
        differing: &[&Unpacked<'_>],
        most: usize,
        matched: &Matched,
        decision: &Decision,
        memory: &mut Convergence,
    ) -> Option<Standing> {
        let (begun, mut told) = (Instant::now(), None);
        for one in differing.iter().take(most.min(RESIZED_AT_MOST)) {
            if begun.elapsed() > RESIZING {
                break;
            }
            let outcome = self.requests.resize(&one.pod).await;
            let is_answered = !matches!(outcome, Outcome::NotAdmitted | Outcome::Failed(_));
            told = match outcome {
                Outcome::Refused(_) => {
                    let told = self.evict(one.summary, "cannot be resized in place", matched, memory);
                    Some(told.await)
                }
                outcome => resizing(&one.summary.name, outcome, differing.len()),
            };
            let waits = told.as_ref().is_some_and(|told| told.reason == WAITS);
            if is_answered && !waits {
                memory.ask(one.summary, decision);
            }
        }
        told
    }

    /// Replaces a pod that was admitted without a sidecar when it should have got one: admission was away then. A second
    /// one goes only when the replacement of the first came with it.
    async fn slipped(&self, matched: &Matched, memory: &mut Convergence) -> Option<Standing> {
        // Another wish is another trial.
        if matched
            .sidecars
            .prospect
            .as_ref()
            .is_some_and(|prospect| *prospect != Prospect::Sidecar)
        {
            (memory.trial, memory.lost) = (None, false);
        }
        let pod = matched.sidecars.slipped(memory.injected_since).next()?;
        if std::mem::take(&mut memory.lost) {
            memory.trial = Some(Trial::lost(matched));
        }
        let verdict = memory
            .trial
            .as_mut()
            .map(|trial| trial.judge(matched, self.between_evictions));
        match verdict.unwrap_or(Verdict::GoOn) {
            Verdict::GoOn => {}
            Verdict::Wait => return Some(standing(false, WAITS, "the pod in place of the last one is awaited")),
            Verdict::InVain => {
                let message = "a pod was evicted for its sidecar and the next one came without it, too: no other is evicted until the template changes";
                return Some(standing(false, IN_VAIN, message));
            }
        }
        memory.trial = None;
        let trial = Trial::begin(matched);
        let told = self
            .evict(pod, "was admitted without its sidecar", matched, memory)
            .await;
        if told.reason == EVICTED {
            memory.trial = Some(trial);
        }
        Some(told)
    }

    /// Evicts a pod, so that the one in its place is admitted with the values in force.
    async fn evict(&self, pod: &PodSummary, why: &str, matched: &Matched, memory: &mut Convergence) -> Standing {
        let name = &pod.name;
        if !self.evict {
            return standing(
                false,
                "EvictionOff",
                format!("{name} {why}, and evictions are turned off"),
            );
        }
        let since_last = memory.evicted.map(|at| at.elapsed());
        if let Some((reason, against)) = objection(pod, matched, since_last, self.between_evictions) {
            return standing(false, reason, format!("{name} {why}; {against}"));
        }
        match self.requests.evict(&matched.subject.namespace, name, &pod.unique).await {
            Ok(()) => {
                memory.evicted = Some(Instant::now());
                standing(false, EVICTED, format!("{name} {why} and was evicted"))
            }
            Err(error) => standing(false, "EvictionRefused", error),
        }
    }
}

impl Convergence {
    /// Goes on from what a predecessor said last.
    pub fn continue_from(&mut self, reason: &str) {
        self.lost = reason == IN_VAIN;
        // It may have evicted a pod a moment ago, or may still be about to.
        self.evicted = Some(Instant::now());
    }

    /// Whether a pod is to be asked about: it has other values than the plan, and admission did not leave it so.
    fn is_owed(&self, one: &Unpacked<'_>, decision: &Decision) -> bool {
        differs(&one.pod, decision) && !self.was_asked(one.summary, decision)
    }

    /// Whether the kubelet may not have judged yet what was last asked for.
    fn has_just_asked(&self, pod: &PodSummary) -> bool {
        let asked = self.asked.get(&pod.unique);
        asked.is_some_and(|(_, at)| at.elapsed() < JUDGING)
    }

    fn was_asked(&self, pod: &PodSummary, decision: &Decision) -> bool {
        let asked = self.asked.get(&pod.unique);
        asked.is_some_and(|(plan, at)| *plan == plan_of(decision) && at.elapsed() < ASK_AGAIN)
    }

    fn ask(&mut self, pod: &PodSummary, decision: &Decision) {
        self.asked
            .insert(Arc::clone(&pod.unique), (plan_of(decision), Instant::now()));
    }

    /// Forgets pods that are gone.
    fn forget(&mut self, matched: &Matched) {
        self.asked
            .retain(|unique, _| matched.subject.pods.iter().any(|pod| pod.unique == *unique));
    }
}

/// Pods of the template in force that stay; others are replaced by the rollout anyway.
fn current(matched: &Matched) -> impl Iterator<Item = &PodSummary> {
    let all = matched.subject.pods.iter().map(AsRef::as_ref);
    all.filter(|pod| pod.is_current(&matched.subject.template))
}

/// A pod whose size is looked at.
struct Unpacked<'m> {
    summary: &'m PodSummary,
    pod: Pod,
}

impl<'m> Unpacked<'m> {
    fn of(summary: &'m PodSummary) -> Option<Self> {
        let pod = summary.unpack()?;
        Some(Self { summary, pod })
    }
}

fn unpacked(matched: &Matched) -> Vec<Unpacked<'_>> {
    current(matched).filter_map(Unpacked::of).collect()
}

/// A pod that can only get its size elsewhere, and why: its node can never hold it, or had no room for it for long.
fn stranded<'m, 'p>(
    pods: &'m [Unpacked<'p>],
    decision: &Decision,
    memory: &Convergence,
    patience: Duration,
    now_seconds: f64,
) -> Option<(&'m Unpacked<'p>, &'static str)> {
    let mut settled = pods.iter().filter(|one| !memory.is_owed(one, decision));
    settled.find_map(|one| {
        if is_infeasible(&one.pod, memory.has_just_asked(one.summary)) {
            Some((one, "cannot be resized in place"))
        } else {
            let waits = deferred_seconds(&one.pod, now_seconds)? >= patience.as_secs_f64();
            waits.then_some((one, "found no room on its node for long"))
        }
    })
}

/// Why another number of replicas is not asked for now. Fewer are no harm to pods that cannot start.
fn not_now(matched: &Matched, situation: &Situation, present: u32, wanted: u32) -> Option<Standing> {
    match situation {
        Situation::Full(reason, message) if wanted > present => Some(standing(false, reason, message)),
        _ if wanted < present && valence_webhook::is_rolling_out(&matched.deployment) => {
            let message =
                format!("the rollout needs its pods: {wanted} replicas instead of {present} when it is through");
            Some(standing(false, "RollingOut", message))
        }
        _ => None,
    }
}

/// A pod whose size was set and is not in force.
fn unsettled_pod(pods: &[Unpacked<'_>], now_seconds: f64) -> Option<(&'static str, String)> {
    let serving = pods.iter().filter(|one| one.summary.is_ready());
    serving.filter_map(|one| unsettled(&one.pod, now_seconds)).next()
}

fn resizing(name: &str, outcome: Outcome, pods: usize) -> Option<Standing> {
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
