//! Makes a running workload take the values in force, by asking for admission once more.
//!
//! The values themselves are not in any request: an empty patch to `deployments/scale`, or to `pods/resize`, makes the
//! API server run the mutating webhooks, and what they set takes effect. Each request is tried as a dry run first. Where
//! that does not answer with the values of the plan, admission is not at work, and nothing is asked for.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{EvictParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio::time::{sleep, timeout};
use tracing::{debug, info};

use super::lease::Leadership;
use super::subjects::{Matched, desired_replicas};
use crate::core::decision::Decision;
use crate::core::observation::{PodPhase, Resources};
use crate::report::metrics::CycleMetrics;
use crate::scrape::pods;

/// Longest wait for one request.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a pod that was asked about is left alone, unless the plan changes.
const ASK_AGAIN: Duration = Duration::from_secs(600);

/// Share of a Deployment's pods that are resized in one cycle; at least one.
const RESIZED_AT_ONCE: f64 = 0.1;

/// How often a dry run is tried again before the next cycle does.
const LOOKS: usize = 3;

/// Time between two tries.
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

/// Memory in the two may differ by the rounding to mebibytes.
const SAME_MEMORY: u64 = 1 << 20;

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
    asked: HashMap<String, (Vec<(String, Resources)>, Instant)>,
    evicted: Option<Instant>,
}

/// Asks for admission once more.
#[derive(Clone)]
pub struct Converger {
    client: Client,
    leadership: Leadership,
    metrics: CycleMetrics,
    evict: bool,
}

/// What became of a request.
enum Outcome {
    /// Admission set the values and they took effect.
    Done,
    /// The dry run did not answer with the values of the plan.
    NotAdmitted,
    /// Admission had nothing to change.
    Unchanged,
    /// The API server refused.
    Refused(String),
}

impl Converger {
    /// Evicts pods whose resize is infeasible only where `evict` is set.
    #[must_use]
    pub fn new(client: Client, leadership: Leadership, metrics: CycleMetrics, evict: bool) -> Self {
        Self {
            client,
            leadership,
            metrics,
            evict,
        }
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
        let replicas = self.replicas(matched, decision).await;
        let resources = if matched.vertical.is_some() {
            None
        } else {
            self.resources(matched, decision, memory).await
        };
        replicas
            .or(resources)
            .unwrap_or_else(|| standing(true, "Converged", "replicas and pods carry the values in force"))
    }

    async fn replicas(&self, matched: &Matched, decision: &Decision) -> Option<Standing> {
        let wanted = decision.replicas?;
        let present = desired_replicas(&matched.deployment);
        if present == wanted || matched.horizontal.is_some() {
            return None;
        }
        let mut outcome = self
            .scale(&matched.subject.namespace, &matched.subject.name, present, wanted)
            .await;
        // Every replica of the webhook learns the plan from its own watch; they need a moment.
        for _ in 0..LOOKS {
            if !matches!(outcome, Outcome::Unchanged) {
                break;
            }
            sleep(BETWEEN_LOOKS).await;
            outcome = self
                .scale(&matched.subject.namespace, &matched.subject.name, present, wanted)
                .await;
        }
        Some(match outcome {
            Outcome::Done => standing(
                false,
                "Scaling",
                format!("re-admitted from {present} to {wanted} replicas"),
            ),
            Outcome::NotAdmitted | Outcome::Unchanged => standing(
                false,
                "NotAdmitted",
                format!("admission does not answer with {wanted} replicas yet"),
            ),
            Outcome::Refused(error) => standing(false, "Refused", error),
        })
    }

    async fn scale(&self, namespace: &str, name: &str, present: u32, wanted: u32) -> Outcome {
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), namespace);
        let ask = async |dry_run: bool| {
            let parameters = PatchParams {
                dry_run,
                ..PatchParams::default()
            };
            let scale = self
                .request(api.patch_scale(name, &parameters, &Patch::Merge(json!({}))))
                .await?;
            Ok::<_, String>(
                scale
                    .spec
                    .and_then(|spec| spec.replicas)
                    .and_then(|replicas| u32::try_from(replicas).ok())
                    .unwrap_or_default(),
            )
        };
        let outcome = match ask(true).await {
            Ok(answer) if answer == present => Outcome::Unchanged,
            Ok(_) => match ask(false).await {
                Ok(answer) if answer == wanted => Outcome::Done,
                // Admission caps what it must: a quota, a limit of the user's.
                Ok(answer) if answer != present => Outcome::Done,
                Ok(_) => Outcome::NotAdmitted,
                Err(error) => Outcome::Refused(error),
            },
            Err(error) => Outcome::Refused(error),
        };
        self.note("deployments/scale", &outcome, namespace, name);
        outcome
    }

    async fn resources(&self, matched: &Matched, decision: &Decision, memory: &mut Convergence) -> Option<Standing> {
        let differing: Vec<&Pod> = matched
            .subject
            .pods
            .iter()
            .map(AsRef::as_ref)
            .filter(|pod| pods::phase(pod, 0.0) == PodPhase::Ready && is_current(pod, matched))
            .filter(|pod| differs(pod, decision) && !memory.was_asked(pod, decision))
            .collect();
        if let Some(stranded) = matched
            .subject
            .pods
            .iter()
            .find(|pod| is_infeasible(pod) && is_current(pod, matched))
        {
            return Some(self.evict(stranded, matched, memory).await);
        }
        let most = ((matched.subject.pods.len() as f64 * RESIZED_AT_ONCE) as usize).max(1);
        let mut told = None;
        for pod in differing.iter().take(most) {
            let outcome = self.resize(pod).await;
            if !matches!(outcome, Outcome::NotAdmitted) {
                memory.ask(pod, decision);
            }
            let refused = matches!(outcome, Outcome::Refused(_));
            told = Some(if refused {
                self.evict(pod, matched, memory).await
            } else {
                resizing(pod, outcome, differing.len())
            });
        }
        told
    }

    async fn resize(&self, pod: &Pod) -> Outcome {
        let namespace = pod.namespace().unwrap_or_default();
        let name = pod.name_any();
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &namespace);
        let ask = async |dry_run: bool| {
            let parameters = PatchParams {
                dry_run,
                ..PatchParams::default()
            };
            self.request(api.patch_subresource("resize", &name, &parameters, &Patch::Merge(json!({}))))
                .await
        };
        let before = asked_for(pod);
        let outcome = match ask(true).await {
            Ok(answer) if asked_for(&answer) == before => Outcome::Unchanged,
            Ok(_) => match ask(false).await {
                Ok(answer) if asked_for(&answer) == before => Outcome::NotAdmitted,
                Ok(_) => Outcome::Done,
                Err(error) => Outcome::Refused(error),
            },
            Err(error) => Outcome::Refused(error),
        };
        self.note("pods/resize", &outcome, &namespace, &name);
        outcome
    }

    /// Evicts a pod, so that the one in its place is admitted with the values in force. One at a time, and only while
    /// every other pod serves; PodDisruptionBudgets hold.
    async fn evict(&self, pod: &Pod, matched: &Matched, memory: &mut Convergence) -> Standing {
        let name = pod.name_any();
        if !self.evict {
            return standing(
                false,
                "ResizeInfeasible",
                format!("{name} cannot be resized in place and evictions are turned off"),
            );
        }
        let all_serve = matched
            .subject
            .pods
            .iter()
            .all(|pod| pods::phase(pod, 0.0) == PodPhase::Ready);
        let recently = memory.evicted.is_some_and(|at| at.elapsed() < Duration::from_secs(60));
        if !all_serve || recently || matched.subject.pods.len() < desired_replicas(&matched.deployment) as usize {
            return standing(
                false,
                "ResizeInfeasible",
                format!("{name} cannot be resized in place; it waits for its eviction"),
            );
        }
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &matched.subject.namespace);
        let evicted = self.request(api.evict(&name, &EvictParams::default())).await;
        self.metrics
            .eviction(if evicted.is_ok() { "success" } else { "refused" });
        match evicted {
            Ok(_) => {
                info!(pod = name, "evicted: it cannot be resized in place");
                memory.evicted = Some(Instant::now());
                standing(
                    false,
                    "Evicted",
                    format!("{name} could not be resized in place and was evicted"),
                )
            }
            Err(error) => standing(false, "EvictionRefused", error),
        }
    }

    /// Sends a request, if this replica still may.
    async fn request<T>(&self, request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, String> {
        if !self.leadership.holds() {
            return Err("another replica recommends now".to_owned());
        }
        match timeout(PATIENCE, request).await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no answer within {PATIENCE:?}")),
        }
    }

    fn note(&self, resource: &str, outcome: &Outcome, namespace: &str, name: &str) {
        let word = match outcome {
            Outcome::Done => "success",
            Outcome::NotAdmitted => "not_admitted",
            Outcome::Unchanged => "unchanged",
            Outcome::Refused(_) => "refused",
        };
        self.metrics.readmission(resource, word);
        match outcome {
            Outcome::Done => info!(resource, namespace, name, "re-admitted"),
            Outcome::Refused(error) => debug!(resource, namespace, name, error, "re-admission refused"),
            _ => debug!(resource, namespace, name, outcome = word, "re-admission"),
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

/// Whether a pod is of the template in force; others will be replaced by the rollout anyway.
fn is_current(pod: &Pod, matched: &Matched) -> bool {
    pod.labels()
        .get("pod-template-hash")
        .is_none_or(|template| *template == matched.subject.template)
}

/// Whether a pod asks for other values than the plan has.
fn differs(pod: &Pod, decision: &Decision) -> bool {
    pods::running_containers(pod).any(|container| {
        let asked = container
            .resources
            .as_ref()
            .map(pods::of_requirements)
            .unwrap_or_default();
        decision
            .containers
            .get(&container.name)
            .is_some_and(|wanted| !same(&asked, wanted))
    })
}

fn same(asked: &Resources, wanted: &Resources) -> bool {
    let cpu = |asked: Option<crate::core::units::Cores>, wanted: Option<crate::core::units::Cores>| {
        wanted.is_none_or(|wanted| asked.is_some_and(|asked| (asked.0 - wanted.0).abs() < 0.001))
    };
    let memory = |asked: Option<crate::core::units::Bytes>, wanted: Option<crate::core::units::Bytes>| {
        wanted.is_none_or(|wanted| asked.is_some_and(|asked| asked.0.abs_diff(wanted.0) <= SAME_MEMORY))
    };
    cpu(asked.cpu_request, wanted.cpu_request)
        && cpu(asked.cpu_limit, wanted.cpu_limit)
        && memory(asked.memory_request, wanted.memory_request)
        && memory(asked.memory_limit, wanted.memory_limit)
}

fn plan_of(decision: &Decision) -> Vec<(String, Resources)> {
    decision
        .containers
        .iter()
        .map(|(name, resources)| (name.clone(), *resources))
        .collect()
}

/// What the containers of a pod ask for.
fn asked_for(pod: &Pod) -> Vec<(String, Resources)> {
    pods::running_containers(pod)
        .map(|container| {
            (
                container.name.clone(),
                container
                    .resources
                    .as_ref()
                    .map(pods::of_requirements)
                    .unwrap_or_default(),
            )
        })
        .collect()
}

/// Whether the kubelet said that the node cannot hold the size that was asked for.
fn is_infeasible(pod: &Pod) -> bool {
    pods::condition(pod, "PodResizePending")
        .is_some_and(|pending| pending.status == "True" && pending.reason.as_deref() == Some("Infeasible"))
}

fn resizing(pod: &Pod, outcome: Outcome, pods: usize) -> Standing {
    let name = pod.name_any();
    match outcome {
        Outcome::Done => standing(false, "Resizing", format!("{name} re-admitted; {pods} pods differed")),
        Outcome::Unchanged => standing(true, "Converged", format!("admission leaves {name} as it is")),
        Outcome::NotAdmitted => standing(
            false,
            "NotAdmitted",
            format!("admission does not answer for {name} yet"),
        ),
        Outcome::Refused(error) => standing(false, "Refused", error),
    }
}

fn standing(converged: bool, reason: &'static str, message: impl Into<String>) -> Standing {
    Standing {
        converged,
        reason,
        message: message.into(),
    }
}
